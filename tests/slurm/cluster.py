"""A real Slurm cluster of one node on the loopback interface, in a temporary folder: for the tests of this folder.

Slurm's daemons want root; jobs run as whoever submits them. There is no accounting, so `squeue` is what tells.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
NODE = "hlbqnode"
# A job that ends or is put back into the queue is gone for so long; Slurm's own waits are minutes.
_CONFIGURATION = """
ClusterName=hlbqtest
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={controller_port}
SlurmdPort={node_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
PlugStackConfig={folder}/plugstack.conf
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,batch_sched_delay=0,sched_min_interval=0
GresTypes=gpu
MpiDefault=none
EnforcePartLimits=ALL
ReturnToService=2
KillWait=20
MinJobAge=300
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 CPUs=8 Gres=gpu:2 Features=a100,nvlink State=UNKNOWN
PartitionName=main Nodes={node} Default=YES MaxTime=60 State=UP
PartitionName=short Nodes={node} MaxTime=10 State=UP
"""


class NoClusterError(Exception):
    """There can be no Slurm cluster here; the text says why."""


@dataclass(frozen=True, kw_only=True)
class SlurmCluster:
    """A running cluster. `environment` is what its commands want."""

    folder: Path
    daemons: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables by which Slurm's commands find this cluster."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *command: str) -> str:
        """What one of Slurm's commands prints. Raises subprocess.CalledProcessError where it fails."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout

    def jobs(self) -> dict[str, str]:
        """The state of each job that Slurm still knows, tasks of arrays one by one."""
        listing = self.run("squeue", "--array", "--noheader", "--states=all", "--format=%i %T")
        return dict(line.split() for line in listing.splitlines())

    def log(self) -> str:
        """The last words of the daemons."""
        texts = [path.read_text(errors="replace")[-3000:] for path in sorted(self.folder.glob("*.log"))]
        return "\n".join(texts)

    def _start(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out.log").open("ab") as output:
            self.daemons.append(
                subprocess.Popen(
                    command,
                    env={**os.environ, **self.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self.folder,
                )
            )

    def start(self) -> None:
        """Start the daemons and wait until the node can take jobs."""
        munge = [
            f"--{name}={self.folder}/munge.{name.partition('-')[0]}" for name in ("socket", "pid-file", "seed-file")
        ]
        self._start(
            "munged", "--foreground", "--force", f"--key-file={self.folder}/munge.key", *munge,
            f"--log-file={self.folder}/munged.log",
        )  # fmt: skip
        self._wait((self.folder / "munge.socket").exists, "munged listens")
        configuration = str(self.folder / "slurm.conf")
        self._start("slurmctld", "-D", "-f", configuration)
        self._start("slurmd", "-D", "-f", configuration, "-N", NODE)
        self._wait(lambda: "idle" in self._node_state(), "the node is idle")

    def stop(self) -> None:
        """End what is left of the jobs, then the daemons, by their own process ids."""
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            self.run("scancel", "--signal=KILL", "--full", "--user=root")
            self.run("scancel", "--user=root")
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _node_state(self) -> str:
        try:
            return self.run("sinfo", "--noheader", "--partition=main", "--format=%T")
        except subprocess.SubprocessError:
            return ""

    def _wait(self, condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until or any(daemon.poll() is not None for daemon in self.daemons):
                raise NoClusterError(f"not so: {what}\n{self.log()}")
            time.sleep(0.1)


@contextlib.contextmanager
def one_node_cluster() -> Iterator[SlurmCluster]:
    """A cluster that is gone after the block. Raises NoClusterError where there can't be one."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise NoClusterError(
            f"not installed: {', '.join(missing)} (apt-get install slurmctld slurmd slurm-client munge)"
        )
    if os.geteuid() != 0:
        raise NoClusterError("Slurm's daemons need root")
    folder = Path(tempfile.mkdtemp(prefix="hlbq-slurm-"))
    folder.chmod(0o755)  # munged wants its socket where everybody gets to
    cluster = SlurmCluster(folder=folder)
    try:
        _write_files(folder)
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _write_files(folder: Path) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir(mode=0o755)
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    (folder / "plugstack.conf").write_text("")
    # Two made-up GPUs: Slurm counts them, and nobody uses them.
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
    ports = _free_ports(2)
    (folder / "slurm.conf").write_text(
        _CONFIGURATION.format(
            host=socket.gethostname(), folder=folder, node=NODE, controller_port=ports[0], node_port=ports[1]
        )
    )


def _free_ports(count: int) -> Sequence[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
