"""The figures of the fault suite, and the table that is published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

HEAD = ("fault", "database", "landed", "runs lost", "finished twice", "stale rows", "besides", "seconds", "code")


@dataclass(frozen=True, kw_only=True)
class FaultRow:
    """What one fault did on one database.

    `landed` counts faults that struck a worker while it held a run (or what stands in its place, see `besides`),
    `lost` runs that were not completed or whose points are not those of a run that was never disturbed. `broken`
    says in words what broke the promise besides; `proves_sight` marks the row that must finish runs twice. `counts`
    are told after `besides`; those of several parts of one fault are added. `code` is the commit that was hurt.
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
    counts: Mapping[str, int] = field(default_factory=dict)
    code: str = ""

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
            return (self.fault, self.database, "skipped", "", "", "", self.skipped, "", self.code)
        counted = ", ".join(f"{count:,} {what}" for what, count in self.counts.items())
        parts = (self.besides, counted, *(f"**{each}**" for each in self.broken))
        counts = (self.landed, self.lost, self.finished_twice, self.stale_rows)
        numbers = (f"{count:,}" for count in counts)
        return (self.fault, self.database, *numbers, "; ".join(filter(None, parts)), f"{self.seconds:.0f}", self.code)

    def __add__(self, other: "FaultRow") -> "FaultRow":
        """Two parts of one fault."""
        return replace(
            self,
            landed=self.landed + other.landed,
            lost=self.lost + other.lost,
            finished_twice=self.finished_twice + other.finished_twice,
            stale_rows=self.stale_rows + other.stale_rows,
            seconds=self.seconds + other.seconds,
            broken=(*self.broken, *other.broken),
            counts={
                name: self.counts.get(name, 0) + other.counts.get(name, 0) for name in {**self.counts, **other.counts}
            },
            code=", ".join(sorted({*self.code.split(", "), *other.code.split(", ")})),
        )


def together(rows: Sequence[FaultRow]) -> list[FaultRow]:
    """One row for each fault and database: parts of one are added, in the order in which each comes first."""
    found: dict[tuple[str, ...], FaultRow] = {}
    for row in rows:
        key = (row.fault, row.database, row.besides, row.skipped)
        found[key] = found[key] + row if key in found else row
    return list(found.values())


def table(rows: Sequence[FaultRow]) -> str:
    """The rows as a table in Markdown."""
    lines = [HEAD, tuple("---" for _ in HEAD), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
