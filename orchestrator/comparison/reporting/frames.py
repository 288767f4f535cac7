"""A comparison for notebooks: as HTML, and as pandas data frames."""

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from orchestrator.comparison.judging.contrasts import Contrast
from orchestrator.comparison.measuring.groups import GroupResult
from orchestrator.comparison.reporting import rendering
from orchestrator.comparison.results import Comparison
from orchestrator.comparison.statistics import Interval
from orchestrator.errors import UsageError
from orchestrator.report.page import html_table

if TYPE_CHECKING:
    import pandas


def html(comparison: Comparison) -> str:
    """The tables and sentences of `hlbq compare` as HTML."""
    texts = [*comparison.warnings, *rendering.sentences(comparison)]
    sentences = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return "\n".join([*map(html_table, rendering.tables(comparison)), f"<ul>{sentences}</ul>"])


def frame_of(comparison: Comparison, table: str) -> "pandas.DataFrame":
    """See Comparison.to_frame. Raises UsageError for another table."""
    import pandas

    if table == "groups":
        return pandas.DataFrame(map(_group, comparison.groups))
    if table != "differences":
        raise UsageError(f"a comparison has no table '{table}'", "Use differences or groups.")
    rows = [{"family": family, **_difference(one)} for family, own in comparison.families.items() for one in own]
    return pandas.DataFrame(rows, columns=None if rows else ["family", "arm", "baseline", "pairs", "difference"])


def _group(group: GroupResult) -> dict[str, Any]:
    summary = group.summary
    numbers = {"n": summary.count, "mean": summary.mean, "deviation": summary.deviation}
    without = {"diverged": group.diverged, "waiting": group.waiting, "missing": group.missing}
    return {**group.values, **numbers, **_ends("interval", summary.interval), **without}


def _difference(contrast: Contrast) -> Mapping[str, Any]:
    finding, difference = contrast.finding, contrast.finding.difference
    return {
        "arm": contrast.label,
        "baseline": contrast.baseline,
        "pairs": difference.summary.count,
        "difference": difference.summary.mean,
        **_ends("one_look", difference.summary.interval),
        "p_one_look": finding.p_value,
        **_ends("always_valid", difference.always_valid_interval),
        "p_always_valid": finding.always_valid_p_value,
        "verdict": finding.verdict.value,
    }


def _ends(name: str, interval: Interval | None) -> Mapping[str, float | None]:
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return {f"{name}_low": low, f"{name}_high": high}
