"""Arms of a sweep and the seeds that each is given: as they come from a plan, and as stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload


@dataclass(frozen=True, kw_only=True, slots=True)
class NewArm:
    """One combination of resolved settings, with the sizes that follow from it."""

    key: str
    settings: Mapping[str, Any]
    num_params: int
    num_non_embedding_params: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmRecord(NewArm):
    """An arm as stored: `number` counts from 1 within its sweep."""

    id: int
    number: int


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """One arm (by its place in the sweep's list) with one seed. `run_num` counts from 1."""

    arm: int
    run_num: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class EverySeed(Sequence[NewRun]):
    """The runs of `arms` arms with each of `num_runs` seeds, seed by seed, without an object in memory for each.

    Run k (from 1) of every arm has seed `first_seed + k - 1`.
    """

    arms: int
    first_seed: int
    num_runs: int

    def __len__(self) -> int:
        return self.arms * self.num_runs

    @overload
    def __getitem__(self, place: int) -> NewRun: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[NewRun]: ...

    def __getitem__(self, place: int | slice) -> NewRun | Sequence[NewRun]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        seed, arm = divmod(range(len(self))[place], self.arms)
        return NewRun(arm=arm, run_num=seed + 1, seed=self.first_seed + seed)
