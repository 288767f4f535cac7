"""The workers of one launch, as their launcher sees them: placed or waiting, running or ended."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.launch.ray_cluster import Need
from orchestrator.launch.ray_worker import RayWorker, WorkerOrder, WorkerReport

POLL_SECONDS = 0.5
# A worker's time to release its run, and some more.
STOP_SECONDS = 90.0


@dataclass(kw_only=True)
class Member:
    """One worker of a launch. `report` is the newest one; None before Ray has placed the worker."""

    name: str
    actor: Any
    asked: Any = None
    report: WorkerReport | None = None
    failure: str = ""
    ended: bool = False

    @property
    def broken(self) -> bool:
        """Whether it could not work, or crashed for good."""
        code = self.report.exit_code if self.report is not None else None
        return bool(self.failure) or (self.ended and code not in (None, 0, 1, 130))


@dataclass(kw_only=True)
class RayFleet:
    """Workers as Ray actors. `say` gets messages for people: moves, crashes, ends."""

    say: Callable[[str], None]
    members: list[Member] = field(default_factory=list)

    def start(self, orders: Sequence[WorkerOrder], need: Need, *, actor: type[RayWorker] = RayWorker) -> None:
        """Ask Ray for an actor for each order. Ray restarts a lost actor on another node, however often that
        happens."""
        import ray

        for order in orders:
            options = {
                "num_cpus": need.cpus,
                "num_gpus": need.gpus,
                "max_restarts": -1,
                "name": order.name,
                "lifetime": "detached" if order.detached else None,
            }
            made = ray.remote(actor).options(**options)
            self.members.append(Member(name=order.name, actor=made.remote(order)))

    def adopt_launched(self) -> None:
        """Take over the actors of every launch on the joined cluster."""
        import ray
        from ray.util import list_named_actors

        for name in sorted(list_named_actors()):
            with contextlib.suppress(ValueError):  # it has ended in the meantime
                self.members.append(Member(name=name, actor=ray.get_actor(name)))

    @property
    def at_work(self) -> list[Member]:
        """Workers that have not ended."""
        return [member for member in self.members if not member.ended]

    @property
    def waiting(self) -> list[Member]:
        """Workers without a place, at first or again."""
        return [member for member in self.at_work if member.report is None]

    @property
    def broken(self) -> list[Member]:
        """Workers that could not work."""
        return [member for member in self.members if member.broken]

    def update(self) -> None:
        """Collect the news of every worker. Never waits."""
        import ray

        for member in self.at_work:
            if member.asked is None:
                member.asked = member.actor.report.remote()
        asked = {member.asked: member for member in self.at_work}
        if not asked:
            return
        answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=0)
        for answer in answered:
            member = asked[answer]
            member.asked = None
            self._hear(member, answer)

    def _hear(self, member: Member, answer: Any) -> None:
        import ray
        from ray.exceptions import ActorUnavailableError, RayActorError

        try:
            report: WorkerReport = ray.get(answer)
        except ActorUnavailableError:
            if member.report is not None:
                self.say(f"worker {member.name} on {member.report.hostname} is lost; Ray is starting it again")
            member.report = None
        except RayActorError as error:
            # Ray will not start it again: it left by itself, was killed, or could never start.
            member.ended = True
            if member.report is None:
                member.failure = _last_line(str(error))
                self.say(f"worker {member.name} could not start: {member.failure}")
        else:
            self._note(member, report)

    def _note(self, member: Member, report: WorkerReport) -> None:
        before = member.report
        if before is None or before.node_id != report.node_id:
            self.say(f"worker {member.name} is on {report.hostname}, node {report.node_id[:8]}")
        if before is not None and report.crashes > before.crashes:
            self.say(f"worker {member.name} crashed: {' '.join(report.last_words[-1:])}")
        member.report = report
        if report.exit_code is not None:
            self.say(f"worker {member.name} has ended: {' '.join(report.last_words[-1:])}")
            self.abandon(member)

    def stop(self) -> None:
        """Make every worker release its run and end; cancel those without a place. The second time: end at once."""
        for member in self.waiting:
            self.abandon(member)
        for member in self.at_work:
            member.actor.stop.remote()

    def abandon(self, member: Member) -> None:
        """Give the place of an actor to others: its worker has ended, or was never placed."""
        import ray

        ray.kill(member.actor, no_restart=True)
        member.ended = True

    def wait(self, seconds: float) -> bool:
        """Wait for all to end; False if some have not ended in time."""
        until = time.monotonic() + seconds
        while self.at_work and time.monotonic() < until:
            self.update()
            time.sleep(POLL_SECONDS)
        return not self.at_work

    def close(self) -> None:
        """Kill the actors that are left. The kernel then asks their workers to release their runs."""
        for member in self.at_work:
            self.abandon(member)


def _last_line(text: str) -> str:
    """The end of a traceback, which says what happened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "Ray gave no reason"
