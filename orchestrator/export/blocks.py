"""From the store to the rows of a table, a few runs at a time, so memory does not grow with the sweep."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import isnan
from typing import Any

from hlbgpt_core.points import Split
from hlbgpt_core.settings import specs
from orchestrator.export.columns import (
    CODE_OF_POINTS,
    Column,
    original_columns,
    point_columns,
    run_columns,
    run_values,
)
from orchestrator.queue.code import CodePart, part_at
from orchestrator.queue.runs import RunFilter
from orchestrator.store import Store
from orchestrator.store.reading.curves import CURVE_COLUMNS, Curve, NumberTexts, PointPage, RunCurves
from orchestrator.sweep.arm_labels import differing_settings
from orchestrator.sweep.options import with_defaults


class Layout(StrEnum):
    """What a row of the table is: a run, a point, or a run as the original tool's newest form has it."""

    RUNS = "runs"
    POINTS = "points"
    ORIGINAL = "original"


# Some rows of a table, as columns of the same length. Users' own metrics are NumberTexts; only a block of one row has
# lists of numbers.
Block = Sequence[Sequence[Any]]


def plain_columns(block: Block) -> Block:
    """The columns with numbers and lists of numbers instead of NumberTexts."""
    return [
        values.numbers()
        if isinstance(values, NumberTexts)
        else values
        if len(values) > 1
        else [value.numbers() if isinstance(value, NumberTexts) else value for value in values]
        for values in block
    ]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a table shows of the database. `with_pointless` adds the runs that have no points yet."""

    runs: RunFilter
    layout: Layout = Layout.RUNS
    with_pointless: bool = False

    def shows(self, found: RunCurves) -> bool:
        """Whether the table has rows of this run. Scripts for the original tool expect a validation loss of each."""
        if self.layout is Layout.ORIGINAL:
            return Split.VAL in found.curves
        return bool(found.curves) or self.with_pointless


def columns_of(store: Store, selection: Selection) -> Sequence[Column]:
    """The table's columns, users' own metrics included."""
    if selection.layout is Layout.ORIGINAL:
        return original_columns()
    extra = sorted(store.metrics_without_column(selection.runs), key=lambda key: (key[1], key[0]))
    if selection.layout is Layout.RUNS:
        return run_columns(extra)
    return point_columns(tuple(dict.fromkeys(name for _, name in extra)))


def blocks(store: Store, selection: Selection, columns: Sequence[Column]) -> Iterator[Block]:
    """The table's rows. What a worker records meanwhile under a new name is in none of `columns`, and left out."""
    if selection.layout is Layout.POINTS:
        yield from (_point_block(page, columns) for page in store.pages_of_points(selection.runs))
        return
    same = store.same_code()
    for found in store.runs_with_curves(selection.runs):
        if not selection.shows(found):
            continue
        if selection.layout is Layout.ORIGINAL:
            values = run_values(found.run, _aligned(found.curves), columns, same)
            # As polars writes it, and as alone it reads it: the original tool's scripts read with polars.
            yield [["NaN" if isinstance(value, float) and isnan(value) else value] for value in values]
            continue
        yield [[value] for value in run_values(found.run, found.curves, columns, same)]


def untold_settings(store: Store, selection: Selection) -> Sequence[str]:
    """The settings in which runs of the table differ whose rows are otherwise of one arm, in the order of the settings:
    those that `original` has no column for."""
    if selection.layout is not Layout.ORIGINAL:
        return ()
    told = {column.name for column in original_columns()}
    arms: dict[int, Mapping[str, Any]] = {}
    for found in store.runs_with_curves(selection.runs):
        if selection.shows(found) and found.run.arm_id not in arms:
            arms[found.run.arm_id] = with_defaults(found.run.settings)
    alike: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for values in arms.values():
        alike.setdefault(tuple(values[name] for name in values if name in told), []).append(values)
    untold = {name for group in alike.values() for name in differing_settings(group)}
    return [name for name in specs() if name in untold]


def _aligned(curves: Mapping[Split, Curve]) -> Mapping[Split, Curve]:
    """The curves with one train point for each evaluation: that of the same step, else the last one before it."""
    train, val = curves.get(Split.TRAIN), curves[Split.VAL]
    if train is None:
        return curves
    places = [bisect_right(train["step"], step) - 1 for step in val["step"]]
    columns = {
        name: [values[place] if place >= 0 else None for place in places] for name, values in train.columns.items()
    }
    return {**curves, Split.TRAIN: replace(train, columns=columns)}


def _point_block(page: PointPage, columns: Sequence[Column]) -> Block:
    numbers = page.columns["run_id"]
    own = [column.name for column in columns[2 + len(CURVE_COLUMNS) + len(CODE_OF_POINTS) : -1]]
    codes = {number: _code_cells(next(iter(run.code), None)) for number, run in page.runs.items()}
    cells = [codes[number] for number in numbers]
    several = {number for number, run in page.runs.items() if any(part.after for part in run.code)}
    if several:
        cells = [
            _code_cells(part_at(page.runs[number].code, step)) if number in several else known
            for number, step, known in zip(numbers, page.columns["step"], cells, strict=True)
        ]
    *known_columns, recorded_at = page.columns.values()
    return [
        *known_columns,
        *zip(*cells, strict=True),
        *(page.extra.get(name) or [None] * len(numbers) for name in own),
        recorded_at,
    ]


def _code_cells(part: CodePart | None) -> tuple[str | None, str | None]:
    return (None, None) if part is None else (part.digest, part.git_commit or None)
