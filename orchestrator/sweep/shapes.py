"""How the values of a sweep's axes are combined: the product, or another shape. Pure.

    product (default)   every value with every other
    zips                some axes are paired: first with first, second with second
    one_at_a_time       a base (the first value of every axis), and every other value of one axis at a time
    random_draws        this many draws over the axes; a range is drawn on a logarithmic scale

Axes that are zipped count as one axis for all of these. `where` then leaves out arms by an expression over their
resolved settings; that is plan.py's part.
"""

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from hlbgpt_core.settings import SettingSpec, parse_value, specs, unknown_setting
from orchestrator.errors import PlanError

RANGE_MARK = ".."
LINEAR_MARK = ":linear"
# A drawn float gets this many digits: just as random, but easy to read and type.
DRAWN_DIGITS = 6
# A repeated draw is drawn again, at most this often: a small range runs out of values.
TRIES_A_DRAW = 1_000

Axes = Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class Range:
    """`1e-4..1e-1`: the values from low to high, both positive, drawn uniformly on a logarithmic scale; `0..1:linear`:
    on a linear one.
    """

    low: float
    high: float
    is_linear: bool = False

    def __str__(self) -> str:
        return f"{self.low!r}{RANGE_MARK}{self.high!r}{LINEAR_MARK if self.is_linear else ''}"

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers, as its ends are."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, share: float) -> float:
        """The value at `share` (from 0 up to 1) of the scale."""
        # To make whole ends as likely as their neighbours.
        low, high = (self.low - 0.5, self.high + 0.5) if self.is_whole else (self.low, self.high)
        if self.is_linear:
            return self.nearest(low + (high - low) * share)
        if math.isinf(high / low):
            return self.nearest(math.exp(math.log(low) + (math.log(high) - math.log(low)) * share))
        return self.nearest(low * (high / low) ** share)

    def nearest(self, drawn: float) -> float:
        """What a drawn number becomes: whole if the ends are, else of few digits; never outside."""
        value = round(drawn) if self.is_whole else float(f"{drawn:.{DRAWN_DIGITS}g}")
        return min(max(value, self.low), self.high)

    def count(self) -> float:
        """How many values it has."""
        return self.high - self.low + 1 if self.is_whole else math.inf


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How axes are combined. `random_draws` None means that nothing is drawn."""

    zips: tuple[tuple[str, ...], ...] = ()
    where: tuple[str, ...] = ()
    one_at_a_time: bool = False
    random_draws: int | None = None
    random_seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """What differs from the plain product, as JSON holds it."""
        plain = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in vars(self).items() if value != plain[name]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Shape":
        """The shape that `to_dict` wrote."""
        known = dict(values)
        known["zips"] = tuple(tuple(names) for names in known.get("zips", ()))
        known["where"] = tuple(known.get("where", ()))
        return cls(**known)

    def zipped(self) -> frozenset[str]:
        """The zipped settings: their values count by position, repeated ones too."""
        return frozenset(itertools.chain.from_iterable(self.zips))

    def lines(self) -> list[str]:
        """The shape for people, a line each; none for the plain product."""
        found = [f"zip: {' and '.join(names)} are paired" for names in self.zips]
        if self.one_at_a_time:
            found.append("one at a time: a base arm of every first value, and one change each")
        if self.random_draws is not None:
            found.append(f"random: {self.random_draws} draws (random seed {self.random_seed})")
        return found + [f"where: {text}" for text in self.where]


PRODUCT = Shape()


@dataclass(frozen=True, kw_only=True)
class Track:
    """Zipped axes; `choices` are their values position by position, or one Range."""

    names: tuple[str, ...]
    choices: tuple[Any, ...]

    @property
    def range(self) -> Range | None:
        """The range, if it has no list of values."""
        first = self.choices[0][0]
        return first if isinstance(first, Range) else None

    def count(self) -> float:
        """How many choices there are."""
        return self.range.count() if self.range else len(self.choices)

    def drawn(self, share: float) -> tuple[Any, ...]:
        """The choice at `share` (from 0 up to 1)."""
        return (self.range.at(share),) if self.range else self.choices[int(share * len(self.choices))]


def parse_axis(spec: SettingSpec, values: Sequence[Any], *, keep_repeats: bool = False) -> tuple[Any, ...]:
    """The typed values of one axis, each once unless `keep_repeats`; or one Range. Raises SettingsError or PlanError
    for invalid values."""
    is_number = spec.type in (int, float)
    parsed = [
        _parse_range(spec, value)
        if is_number and isinstance(value, str) and RANGE_MARK in value
        else parse_value(spec, value)
        for value in values
    ]
    if len(parsed) > 1 and any(isinstance(value, Range) for value in parsed):
        raise PlanError(f"{spec.name}: a range was given with other values", "Give one range, or a list of values.")
    return tuple(parsed if keep_repeats else dict.fromkeys(parsed))


def combinations(axes: Axes, shape: Shape) -> Iterator[dict[str, Any]]:
    """Every combination of values that the shape makes, by setting in the order of `axes`, before any is left out.
    Raises PlanError for a shape that does not fit the axes."""
    tracks = _tracks(axes, shape)
    if shape.random_draws is not None:
        chosen = _draws(tracks, shape.random_draws, random.Random(shape.random_seed))
    elif shape.one_at_a_time:
        chosen = _one_at_a_time(tracks)
    else:
        chosen = itertools.product(*(track.choices for track in tracks))
    names = tuple(itertools.chain.from_iterable(track.names for track in tracks))
    in_order = names == tuple(axes)
    for choices in chosen:
        given = dict(zip(names, itertools.chain.from_iterable(choices), strict=True))
        yield given if in_order else {name: given[name] for name in axes}


def count(axes: Axes, shape: Shape) -> int:
    """The most combinations that the shape can make. Raises PlanError as `combinations` does."""
    tracks = _tracks(axes, shape)
    sizes = [len(track.choices) for track in tracks]
    if shape.random_draws is not None:
        return int(min(shape.random_draws, math.prod(track.count() for track in tracks)))
    return 1 + sum(size - 1 for size in sizes) if shape.one_at_a_time else math.prod(sizes)


def _one_at_a_time(tracks: Sequence[Track]) -> Iterator[tuple[Any, ...]]:
    base = tuple(track.choices[0] for track in tracks)
    yield base
    for place, track in enumerate(tracks):
        for choice in track.choices[1:]:
            yield (*base[:place], choice, *base[place + 1 :])


def _draws(tracks: Sequence[Track], wanted: int, source: random.Random) -> Iterator[tuple[Any, ...]]:
    """`wanted` different combinations, or fewer if there are no more. Uses only `source.random()`, the one method that
    promises the same numbers in every version of Python."""
    there = math.prod(track.count() for track in tracks)
    if wanted >= there and all(track.range is None for track in tracks):
        yield from itertools.product(*(track.choices for track in tracks))
        return
    seen: set[tuple[Any, ...]] = set()
    for _ in range(int(min(wanted, there))):
        for _ in range(TRIES_A_DRAW):
            drawn = tuple(track.drawn(source.random()) for track in tracks)
            if drawn not in seen:
                seen.add(drawn)
                yield drawn
                break


def tracks_of(axes: Axes, shape: Shape) -> list[Track]:
    """The axes, zipped ones together, in their order. Raises PlanError for a shape that does not fit them."""
    if shape.one_at_a_time and shape.random_draws is not None:
        raise PlanError("--one_at_a_time and --random were given together", "Leave one of them out.")
    partners: dict[str, tuple[str, ...]] = {}
    for names in shape.zips:
        _check_zip(names, axes, partners)
        partners |= dict.fromkeys(names, names)
    tracks: dict[tuple[str, ...], Track] = {}
    for name in axes:
        names = partners.get(name, (name,))
        tracks.setdefault(names, Track(names=names, choices=tuple(zip(*(axes[one] for one in names), strict=True))))
    return list(tracks.values())


def _tracks(axes: Axes, shape: Shape) -> list[Track]:
    tracks = tracks_of(axes, shape)
    found = next((track for track in tracks if track.range), None)
    if found is not None and shape.random_draws is None:
        raise PlanError(
            f"{found.names[0]}: {found.range} is a range, and needs --random to draw from it",
            "Add --random N, or --trials N for a search, or list values.",
        )
    return tracks


def _check_zip(names: Sequence[str], axes: Axes, partners: Mapping[str, Any]) -> None:
    example = "For instance: --depth 4 8 --width 192 384 --zip depth width"
    for name in names:
        if name not in specs():
            raise unknown_setting(name)
        if name not in axes:
            raise PlanError(f"--zip {' '.join(names)}: no values of {name} were given", f"Add --{name} VALUES.")
        if name in partners or list(names).count(name) > 1:
            raise PlanError(f"--zip names {name} twice", example)
        if any(isinstance(value, Range) for value in axes[name]):
            raise PlanError(f"--zip: {name} is a range, and has no list of values to pair", "Give a list of values.")
    if len(names) < 2:
        raise PlanError(f"--zip {' '.join(names)}: one setting alone cannot be paired", example)
    first = names[0]
    for name in names[1:]:
        if len(axes[name]) != len(axes[first]):
            raise PlanError(
                f"--zip {' '.join(names)}: {first} has {len(axes[first])} values and {name} has {len(axes[name])}",
                "Give all of them the same number of values.",
            )


def _parse_range(spec: SettingSpec, text: str) -> Range:
    is_linear = text.endswith(LINEAR_MARK)
    low_text, _, high_text = text.removesuffix(LINEAR_MARK).partition(RANGE_MARK)
    low, high = parse_value(spec, low_text.strip()), parse_value(spec, high_text.strip())
    if not low < high or not (is_linear or low > 0):
        why = "" if is_linear else " from a number above 0, since it is drawn on a logarithmic scale"
        raise PlanError(
            f"{spec.name}: the range {text} must rise{why}",
            f"For instance: --{spec.name} {'1e-4..1e-1' if spec.type is float else '4..32'}, or "
            f"{'0.1..1' if spec.type is float else '4..32'}{LINEAR_MARK}",
        )
    return Range(low=low, high=high, is_linear=is_linear)
