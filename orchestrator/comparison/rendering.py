"""A comparison as text: tables and sentences, for a terminal or as Markdown."""

from collections.abc import Sequence
from datetime import datetime

from orchestrator.comparison.contrasts import Contrast, Verdict
from orchestrator.comparison.measures import Standing, number_text
from orchestrator.comparison.results import Comparison, TargetTimes
from orchestrator.comparison.statistics import MOST_FURTHER_PAIRS, Interval
from orchestrator.sweep.options import value_text
from orchestrator.wording.numbers import counted, duration, measured_text, short_count
from orchestrator.wording.tables import TextTable

# More seeds without a pair than this are counted and not named.
MOST_SEEDS_NAMED = 10


def tables(comparison: Comparison) -> list[TextTable]:
    """The groups, the differences from the baseline where there is one, and the times to a target if one is set."""
    found = [_groups(comparison)]
    if comparison.contrasts:
        found.append(_differences(comparison))
    if comparison.target is not None:
        found.append(_times(comparison))
    return found


def sentences(comparison: Comparison, *, extend_options: str = "") -> list[str]:
    """The verdicts in words, the seeds without a pair, earlier looks, and the next command.

    `extend_options` is what that command needs besides, such as ` --db results.db`.
    """
    return [*verdict_sentences(comparison), *other_sentences(comparison, extend_options=extend_options)]


def verdict_sentences(comparison: Comparison) -> list[str]:
    """The verdicts in words, and the seeds without a pair."""
    verdicts = [_verdict(contrast) for contrast in comparison.contrasts]
    return verdicts + [text for contrast in comparison.contrasts for text in _lost_pairs(contrast)]


def other_sentences(comparison: Comparison, *, extend_options: str = "") -> list[str]:
    """Earlier looks, runs to finish, and the next command."""
    found = []
    if comparison.contrasts:
        found.append(_looks(comparison))
    if comparison.waiting:
        found.append(f"{counted(comparison.waiting, 'run')} still to finish.")
    if comparison.extension:
        extension = comparison.extension
        found.append(f"next: hlbq extend {extension.sweep} --num_runs {extension.num_runs}{extend_options}")
    return found


def markdown(comparison: Comparison, *, extend_options: str = "") -> str:
    """The comparison as Markdown."""
    parts = []
    for table in tables(comparison):
        parts += [f"**{table.title}**", ""]
        parts += [_markdown_row(table.headers), _markdown_row(["---"] * len(table.headers))]
        parts += [_markdown_row(row) for row in table.rows]
        parts.append("")
    parts += [f"- {text}" for text in (*comparison.warnings, *sentences(comparison, extend_options=extend_options))]
    return "\n".join(parts)


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _groups(comparison: Comparison) -> TextTable:
    numbers = [
        [
            str(group.summary.count),
            _number(group.summary.mean),
            _number(group.summary.deviation),
            _interval(group.summary.interval),
            *(str(count) if count else "" for count in (group.diverged, group.waiting, group.missing)),
        ]
        for group in comparison.groups
    ]
    headers = ["n", "mean", "standard deviation", "95 % interval", "diverged", "to finish", "missing"]
    # Columns in which there is nothing are left out.
    kept = [place for place in range(len(headers)) if place < 4 or any(row[place] for row in numbers)]
    sweeps = ", ".join(str(sweep) for sweep in comparison.sweeps)
    of = f"sweep{'' if len(comparison.sweeps) == 1 else 's'} {sweeps}, {counted(comparison.runs, 'run')}"
    of += "".join(f", {count} of them of sweep {sweep}" for sweep, count in comparison.lent)
    return TextTable(
        title=f"{comparison.measure} over seeds ({of})",
        headers=[*comparison.by, *(headers[place] for place in kept)],
        rows=[[*_values(comparison, place), *(row[column] for column in kept)] for place, row in enumerate(numbers)],
    )


def _values(comparison: Comparison, place: int) -> list[str]:
    values = comparison.groups[place].values
    return ["?" if values[name] is None else value_text(values[name]) for name in comparison.by]


def _differences(comparison: Comparison) -> TextTable:
    rows = []
    for contrast in comparison.contrasts:
        finding, difference = contrast.finding, contrast.finding.difference
        rows.append(
            [
                contrast.label,
                contrast.baseline,
                str(difference.summary.count),
                _number(difference.summary.mean, signed=True),
                _interval(difference.summary.interval, signed=True),
                _p_value(finding.p_value),
                _always_valid(difference.always_valid_interval, difference.summary.count),
                _p_value(finding.always_valid_p_value),
                finding.verdict.value,
            ]
        )
    return TextTable(
        title="difference from the baseline, paired by seed (p corrected by Holm; verdicts by the always-valid p)",
        headers=[
            *("arm", "baseline", "pairs", "difference", "95 % (one look)", "p (one look)"),
            *("95 % (always valid)", "p (always valid)", "verdict"),
        ],
        rows=rows,
    )


def _always_valid(interval: Interval | None, count: int) -> str:
    return "none yet" if interval is None and count > 1 else _interval(interval, signed=True)


def _times(comparison: Comparison) -> TextTable:
    rows = []
    for place, group in enumerate(comparison.groups):
        if group.target is not None:
            rows.append([*_values(comparison, place), *_time_cells(group.target)])
    return TextTable(
        title=f"to reach {_number(comparison.target)} (medians over runs; one that never does counts as the latest)",
        headers=[*comparison.by, "reached", "never", "not known", "training time", "tokens", "steps"],
        rows=rows,
    )


def _time_cells(times: TargetTimes) -> list[str]:
    if times.median_seconds is None or times.median_tokens is None or times.median_steps is None:
        late = ["not reached"] * 3 if times.never else [""] * 3
        return [str(times.reached), str(times.never), str(times.open), *late]
    time = duration(times.median_seconds)
    if times.median_seconds < 60:
        time = f"{times.median_seconds:.2g} s" if times.median_seconds < 10 else f"{times.median_seconds:.0f} s"
    medians = [time, short_count(times.median_tokens), number_text(round(times.median_steps))]
    return [str(times.reached), str(times.never), str(times.open), *medians]


def _verdict(contrast: Contrast) -> str:
    finding, pairs = contrast.finding, counted(len(contrast.pairs.differences), "pair")
    summary, further = finding.difference.summary, finding.further_seeds
    who = f"{contrast.label} against {contrast.baseline}"
    if finding.held_back is not None:
        return (
            f"{who}: undecided. It looks {finding.held_back} in the {pairs} that came through, but runs diverged "
            f"at {counted(contrast.pairs.diverged, 'seed')} of it and {contrast.pairs.baseline_diverged} of the "
            "baseline, and more seeds do not mend that."
        )
    if contrast.pairs.lost_to_divergence:
        return (
            f"{who}: undecided, with {pairs} and so no interval: runs diverged at "
            f"{counted(contrast.pairs.diverged, 'seed')} of it and {contrast.pairs.baseline_diverged} of the baseline, "
            "and more seeds do not mend that."
        )
    if finding.verdict is not Verdict.UNDECIDED:
        return f"{who}: {finding.verdict}, by {_number(abs(summary.mean or 0.0))} over {pairs}."
    if further is None:
        return (
            f"{who}: undecided after {pairs}, and more than {MOST_FURTHER_PAIRS} further seeds would be needed: "
            "if there is an effect, it is small against the noise between seeds."
        )
    under_way = contrast.pairs.waiting
    waiting = f", of which {under_way} {'is' if under_way == 1 else 'are'} under way" if under_way else ""
    if summary.count < 2:
        return f"{who}: undecided, with {pairs} and so no interval; begin with {further} more{waiting}."
    return f"{who}: undecided after {pairs}; {counted(further, 'further seed')} would likely decide it{waiting}."


def _lost_pairs(contrast: Contrast) -> list[str]:
    """The seeds that are no pair, by why."""
    seeds: dict[tuple[Standing, str], list[int]] = {}
    for lost in contrast.pairs.lost:
        seeds.setdefault((lost.standing, lost.why), []).append(lost.seed)
    found = []
    for (_, why), own in seeds.items():
        named = ", ".join(str(seed) for seed in own[:MOST_SEEDS_NAMED])
        more = f" and {len(own) - MOST_SEEDS_NAMED} more" if len(own) > MOST_SEEDS_NAMED else ""
        found.append(f"{contrast.label}: no pair of seed {named}{more} ({why})")
    return found


def _looks(comparison: Comparison) -> str:
    earlier = comparison.earlier_looks
    recorded = ", recorded with the sweep" if comparison.is_recorded else ""
    text = f"look {len(earlier) + 1} at this question{recorded}; the always-valid numbers hold however often one looks."
    if not earlier:
        return text
    last = earlier[-1]
    moment = datetime.fromtimestamp(last.at).astimezone().strftime("%Y-%m-%d %H:%M")
    return f"{text} The one before, {moment}: {last.seen}"


def _number(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return ""
    return measured_text(value, signed=signed)


def _interval(interval: Interval | None, *, signed: bool = False) -> str:
    if interval is None:
        return ""
    return f"{_number(interval.low, signed=signed)} to {_number(interval.high, signed=signed)}"


def _p_value(p: float | None) -> str:
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"
