"""What a search may try: choices, the settings that they stand for, and how Optuna sees them."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.comparison.measuring.evaluations import SETTINGS_OF_MEANING
from orchestrator.sweep.definition import stored_axes, stored_shape
from orchestrator.sweep.expressions import Expression
from orchestrator.sweep.options import with_defaults
from orchestrator.sweep.plan import PlannedArm, arm_of
from orchestrator.sweep.shapes import Track, tracks_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# By parameter (the names of a track): the value of a range, or the place in a list.
Choices = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Space:
    """What is searched: tracks of settings, and what their combinations must fulfil."""

    tracks: Sequence[Track]
    wheres: Sequence[Expression] = ()

    @classmethod
    def of(cls, definition: Mapping[str, Any]) -> "Space":
        """The space of a stored sweep."""
        shape = stored_shape(definition)
        return cls(tracks=tracks_of(stored_axes(definition), shape), wheres=[Expression(text) for text in shape.where])

    def given(self, choices: Choices) -> dict[str, Any]:
        """The values of these choices, by setting."""
        found: dict[str, Any] = {}
        for track in self.tracks:
            chosen = choices.get(parameter(track), 0)
            found |= zip(track.names, (chosen,) if track.range else track.choices[chosen], strict=True)
        return found

    def arm(self, choices: Choices) -> PlannedArm | str:
        """The arm of these choices, or why it can't be trained."""
        return arm_of(self.given(choices), self.wheres)

    def kept(self, proposed: Choices) -> dict[str, Any]:
        """What a sampler proposed, with numbers as they are trained."""
        ranges = {parameter(track): track.range for track in self.tracks}
        return {name: found.nearest(value) if (found := ranges[name]) else value for name, value in proposed.items()}

    def distributions(self) -> "dict[str, BaseDistribution]":
        """What varies, as Optuna describes it. Lists are categories: Optuna takes 1, 1.0 and True for one value, so
        these are places."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        found: dict[str, BaseDistribution] = {}
        for track in self.tracks:
            if (one := track.range) is not None:
                kind = IntDistribution if one.is_whole else FloatDistribution
                found[parameter(track)] = kind(one.low, one.high, log=not one.is_linear)
            elif len(track.choices) > 1:
                found[parameter(track)] = CategoricalDistribution(range(len(track.choices)))
        return found

    def every_meaning(self) -> Iterator[Mapping[str, Any]]:
        """Settings in all combinations (of a range both ends) that may change what a run's numbers mean, each beside
        the defaults of its recipe."""
        tracks = [track for track in self.tracks if SETTINGS_OF_MEANING.intersection(track.names)]
        for chosen in itertools.product(*map(_ends_of, tracks)):
            given = dict(pair for names in chosen for pair in names)
            yield with_defaults(given)

    def every(self) -> Iterator[Choices]:
        """Every combination of choices; none where there are infinitely many."""
        varying = [track for track in self.tracks if track.count() > 1]
        if all(track.range is None or track.range.is_whole for track in varying):
            ranges = [
                range(int(one.low), int(one.high) + 1) if (one := track.range) else range(len(track.choices))
                for track in varying
            ]
            for chosen in itertools.product(*ranges):
                yield dict(zip(map(parameter, varying), chosen, strict=True))


def parameter(track: Track) -> str:
    """What a track is called: `depth`, or `depth, width` where these are zipped."""
    return ", ".join(track.names)


def _ends_of(track: Track) -> Sequence[Sequence[tuple[str, Any]]]:
    """The values of a track, of a range the first and the last, each with its setting."""
    values = track.choices if track.range is None else [(track.range.low,), (track.range.high,)]
    return [tuple(zip(track.names, value, strict=True)) for value in values]
