"""The figures of the fault suite, and the table that is published."""

from collections.abc import Sequence
from dataclasses import dataclass

HEAD = ("fault", "database", "landed", "runs lost", "finished twice", "stale rows", "besides", "seconds")


@dataclass(frozen=True, kw_only=True)
class FaultRow:
    """What one fault did on one database.

    `landed` counts faults that struck a worker while it held a run (or what stands in its place, see `besides`),
    `lost` runs that were not completed or whose points are not those of a run that was never disturbed. `broken`
    says in words what broke the promise besides; `proves_sight` marks the row that must finish runs twice.
    """

    fault: str
    database: str
    landed: int = 0
    lost: int = 0
    finished_twice: int = 0
    stale_rows: int = 0
    besides: str = ""
    seconds: float = 0.0
    broken: tuple[str, ...] = ()
    skipped: str = ""
    proves_sight: bool = False

    @property
    def kept(self) -> bool:
        """Whether the promise held, or a skipped fault said why."""
        if self.skipped:
            return True
        if self.proves_sight:
            return self.finished_twice > 0 and not self.broken
        return self.landed > 0 and not (self.lost or self.finished_twice or self.stale_rows or self.broken)

    @property
    def complaint(self) -> str:
        """What broke the promise, in one line; empty where it held."""
        if self.kept:
            return ""
        found = [f"{self.lost} lost", f"{self.finished_twice} finished twice", f"{self.stale_rows} stale rows"]
        return f"{self.fault} on {self.database}: {'; '.join([*self.broken, f'{self.landed} landed', *found])}"

    def cells(self) -> tuple[str, ...]:
        """The row of the published table."""
        if self.skipped:
            return (self.fault, self.database, "skipped", "", "", "", self.skipped, "")
        besides = "; ".join(part for part in (self.besides, *(f"**{each}**" for each in self.broken)) if part)
        counts = (self.landed, self.lost, self.finished_twice, self.stale_rows)
        return (self.fault, self.database, *(f"{count:,}" for count in counts), besides, f"{self.seconds:.0f}")


def table(rows: Sequence[FaultRow]) -> str:
    """The rows as a table in Markdown."""
    lines = [HEAD, tuple("---" for _ in HEAD), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
