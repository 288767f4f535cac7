"""Hosts for tests: network namespaces joined by a bridge in one more, out of which a host can be taken.

A host that is taken out of the bridge hears nothing: no reset, no error, as with a cable that was cut.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

DATABASE, ONE, OTHER = "database", "one", "other"
HOSTS = (DATABASE, ONE, OTHER)


class NoNetworkError(Exception):
    """There can be no namespaces here; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """Three hosts on one bridge. Names begin with `prefix`; the network is 10.77.0.0/24, seen by nobody else."""

    prefix: str

    def address(self, host: str) -> str:
        """The host's address."""
        return f"10.77.0.{1 + HOSTS.index(host)}"

    def inside(self, host: str) -> tuple[str, ...]:
        """What stands before a command so that it runs on the host's network."""
        return ("ip", "netns", "exec", f"{self.prefix}-{host}")

    def machine(self, host: str) -> tuple[str, ...]:
        """The same, with processes that no other host sees, as on a machine of its own."""
        return ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *self.inside(host))

    def cut(self, host: str) -> None:
        """Cut the host's cable: it and the others go on sending, and nothing arrives."""
        _ip("-n", f"{self.prefix}-bridge", "link", "set", f"to-{host}", "nomaster")

    def mend(self, host: str) -> None:
        """Plug the host in again."""
        _ip("-n", f"{self.prefix}-bridge", "link", "set", f"to-{host}", "master", "bridge")

    def build(self) -> None:
        """Make the namespaces and join them."""
        bridge = f"{self.prefix}-bridge"
        _ip("netns", "add", bridge)
        _ip("-n", bridge, "link", "add", "bridge", "type", "bridge")
        _ip("-n", bridge, "link", "set", "bridge", "up")
        for host in HOSTS:
            name = f"{self.prefix}-{host}"
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", bridge, "link", "add", f"to-{host}", "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("-n", name, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", bridge, "link", "set", f"to-{host}", "up")
            self.mend(host)

    def remove(self) -> None:
        """Take everything down; what is not there is passed over."""
        for name in (*HOSTS, "bridge"):
            subprocess.run(["ip", "netns", "del", f"{self.prefix}-{name}"], capture_output=True, check=False)


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """A network that is gone after the block. Raises NoNetworkError where there can't be one."""
    if os.geteuid() != 0:
        raise NoNetworkError("network namespaces need root")
    for program in ("ip", "unshare"):
        if shutil.which(program) is None:
            raise NoNetworkError(f"`{program}` is not installed (Debian: iproute2, util-linux)")
    made = Network(prefix=f"hlbq-{os.getpid()}")
    try:
        made.build()
        yield made
    finally:
        made.remove()


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoNetworkError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def leaves(pids: Sequence[int]) -> list[int]:
    """The processes that these became or started, at the end of each line: the workers behind `unshare`."""
    from tests.faults.harness import children

    return [child for pid in pids for child in children(pid)]
