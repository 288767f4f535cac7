"""Which code computed a run's points, and which digests mean the same code. Pure."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hlbgpt_core.same_code import SAME_CODE

if TYPE_CHECKING:
    from orchestrator.queue.runs import RunRecord

# The digits of a digest that people see.
SHOWN_LETTERS = 8
MIXED = "mixed code"
HELD = "held: other code"


@dataclass(frozen=True, kw_only=True)
class CodePart:
    """The points past step `after` were computed by this code. `git_commit` ends with `-dirty` if the core was edited
    since that commit; it is empty if git knew nothing."""

    digest: str
    after: int
    git_commit: str = ""


@dataclass(frozen=True, kw_only=True)
class CodeRecord:
    """The core of one digest, as kept. `sources` is empty where they were too large."""

    digest: str
    first_at: float
    git_commit: str
    num_files: int
    num_bytes: int
    sources: str


def code_part(provenance: Mapping[str, Any], *, after: int) -> CodePart | None:
    """The part of an attempt that goes on from step `after`; None if its code is unknown."""
    digest = str(provenance.get("core_digest") or "")
    return CodePart(digest=digest, after=after, git_commit=commit_text(provenance)) if digest else None


def commit_text(provenance: Mapping[str, Any]) -> str:
    """The git commit of what computed an attempt, with `-dirty` if the core was edited since; empty if unknown."""
    commit = str(provenance.get("git_commit") or "")
    return f"{commit}-dirty" if commit and provenance.get("git_dirty") else commit


def parts_up_to(parts: Iterable[CodePart], step: int) -> tuple[CodePart, ...]:
    """The parts of a run at `step`; later parts no longer have points."""
    return tuple(part for part in parts if part.after < max(step, 1))


def part_at(parts: Sequence[CodePart], step: int) -> CodePart | None:
    """The part that holds the point at `step`; None if its code is unknown."""
    return next(reversed(parts_up_to(parts, step)), None)


def with_part(parts: Sequence[CodePart], new: CodePart) -> tuple[CodePart, ...]:
    """A run's parts once it goes on with the code of `new` from its step."""
    kept = tuple(part for part in parts if part.after < new.after)
    return kept if kept and kept[-1].digest == new.digest else (*kept, new)


class SameCode:
    """Digests by the code that they name: equal ones proven by replay, and those that people declared equal."""

    def __init__(self, declared: Iterable[tuple[str, str]] = ()) -> None:
        self._next: dict[str, str] = {}
        self._shown: dict[str, str] = {}
        for group in SAME_CODE:
            for older, newer in itertools.pairwise(group):
                self._join(older, newer)
        for first, second in declared:
            self._join(first, second)

    def of(self, digest: str) -> str:
        """One digest that stands for all that are the same."""
        while digest in self._next:
            digest = self._next[digest]
        return digest

    def equal(self, first: str, second: str) -> bool:
        """Whether two digests name the same code."""
        return self.of(first) == self.of(second)

    def codes(self, parts: Sequence[CodePart]) -> tuple[str, ...]:
        """The different codes of a run's parts, first to last; empty if none is known."""
        return tuple(dict.fromkeys(self.of(part.digest) for part in parts))

    def are_mixed(self, parts: Sequence[CodePart]) -> bool:
        """Whether these parts come from more than one code."""
        return len(parts) > 1 and len({self.of(part.digest) for part in parts}) > 1

    def as_one(self, parts: Sequence[CodePart]) -> tuple[CodePart, ...]:
        """The parts, with adjacent parts of the same code joined under the first part's digest."""
        found: tuple[CodePart, ...] = ()
        for part in parts:
            found = with_part(found, replace(part, digest=self._shown.setdefault(self.of(part.digest), part.digest)))
        return found

    def _join(self, first: str, second: str) -> None:
        first, second = self.of(first), self.of(second)
        if first != second:
            self._next[first] = second


def code_note(run: "RunRecord", same: SameCode) -> str:
    """A warning about a run's code in two words; empty for most runs."""
    if run.held:
        return HELD
    return MIXED if same.are_mixed(run.code) else ""


def held_lines(run_ids: Sequence[int], its_code: str, here: str) -> list[str]:
    """Why runs are held, and the three ways out, as lines."""
    numbers = " ".join(map(str, run_ids))
    which, were = ("runs", "were") if len(run_ids) > 1 else ("run", "was")
    first, second = its_code[:SHOWN_LETTERS], here[:SHOWN_LETTERS]
    return [
        f"{which} {numbers} {were} started by code {first} and would resume with code {second}: held until you choose",
        f"    see what differs: hlbq code diff {first} {second}",
        f'    declare them the same: hlbq code same {first} {second} --why "..."',
        f"  start again from step 0: hlbq retry --run {numbers} --from_start",
        f"    go on anyway, as {MIXED}: hlbq retry --run {numbers} --resume_across_code",
    ]


def joined(texts: Iterable[str]) -> str:
    """Digests or commits of a run's parts as one text: a single one if they are all the same."""
    return " ".join(dict.fromkeys(text for text in texts if text))
