"""A comparison as text: tables and sentences, for a terminal or as Markdown."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from orchestrator.comparison.judging.contrasts import Contrast
from orchestrator.comparison.measuring.groups import TargetTimes
from orchestrator.comparison.measuring.measures import number_text
from orchestrator.comparison.reporting import verdict_words as words
from orchestrator.comparison.results import Comparison
from orchestrator.comparison.statistics import ALPHA, Interval
from orchestrator.sweep.options import value_text
from orchestrator.wording.numbers import counted, duration, measured_text, short_count
from orchestrator.wording.tables import TextTable


def tables(comparison: Comparison) -> list[TextTable]:
    """The main effects and interactions of a factorial sweep, the groups, the differences from the baseline where
    there is one, groups at their best value of a setting, and the times to a target if one is set."""
    factors = "each factor against its baseline, averaged over the others"
    crossed = "interactions: the effect of a setting at a level of another, minus that at the other's baseline"
    found = [
        *_differences(comparison, comparison.main_effects, f"main effects, {factors}"),
        *_differences(comparison, comparison.interactions, crossed),
        _groups(comparison),
        *_differences(comparison, comparison.contrasts, "difference from the baseline"),
    ]
    if comparison.tuned:
        found.append(_tuned(comparison))
    if comparison.target is not None:
        found.append(_times(comparison))
    return found


def sentences(comparison: Comparison, *, extend_options: str = "") -> list[str]:
    """The verdicts in words, the seeds without a pair, earlier looks, and the next command. `extend_options` is what
    that command needs besides, such as ` --db results.db`."""
    return [*verdict_sentences(comparison), *other_sentences(comparison, extend_options=extend_options)]


def verdict_sentences(comparison: Comparison) -> list[str]:
    """The verdicts in words, and the seeds without a pair."""
    contrasts = comparison.all_contrasts
    verdicts = [words.verdict_sentence(contrast, comparison.margin) for contrast in contrasts]
    tuned = [words.tuned_sentence(comparison.tune, one) for one in comparison.tuned if one.verdict is not None]
    shares = [] if comparison.shares is None else [words.shares_sentence(comparison.shares)]
    lost = dict.fromkeys(text for contrast in contrasts for text in words.lost_pairs(contrast))
    return [*shares, *verdicts, *tuned, *lost]


def counts_of_verdicts(comparison: Comparison) -> str:
    """`59 arms against lr_mult 3: 48 worse, 11 undecided.`, or against several baselines."""
    contrasts = comparison.all_contrasts
    counts = Counter(contrast.finding.verdict.value for contrast in contrasts)
    baselines = list(dict.fromkeys(contrast.baseline for contrast in contrasts))
    against = baselines[0] if len(baselines) == 1 else f"{len(baselines)} baselines"
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    held = " and ".join(counted(len(own), noun) for noun, own in comparison.families.items() if own)
    return f"{held} against {against}: {told}."


def other_sentences(comparison: Comparison, *, extend_options: str = "") -> list[str]:
    """Earlier looks, runs to finish, and the next command."""
    found = [*comparison.policy]
    if comparison.has_verdicts and not any(contrast.declared for contrast in comparison.contrasts):
        found.append(_looks(comparison))
    if comparison.waiting:
        found.append(f"{counted(comparison.waiting, 'run')} still to finish.")
    if extension := comparison.extension:
        undecided = " --undecided" if extension.only_undecided else ""
        found.append(f"next: hlbq extend {extension.sweep}{undecided} --num_runs {extension.num_runs}{extend_options}")
    return found


def markdown(comparison: Comparison, *, extend_options: str = "") -> str:
    """The comparison as Markdown."""
    parts = []
    for table in tables(comparison):
        parts += [f"**{table.title}**", "", *table.markdown(), ""]
    parts += [f"- {text}" for text in (*comparison.warnings, *sentences(comparison, extend_options=extend_options))]
    return "\n".join(parts)


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


def _differences(comparison: Comparison, contrasts: Sequence[Contrast], title: str) -> list[TextTable]:
    """The table of a family; none for an empty one."""
    if not contrasts:
        return []
    if comparison.is_robust:
        return [_wins(contrasts, title)]
    rows = []
    for contrast in contrasts:
        finding, difference = contrast.finding, contrast.finding.difference
        none_yet = "none yet" if difference.summary.count > 1 else ""
        rows.append(
            [
                contrast.label,
                contrast.baseline,
                str(difference.summary.count),
                _number(difference.summary.mean, signed=True),
                _interval(difference.summary.interval, signed=True),
                _p_value(finding.p_value),
                _interval(difference.always_valid_interval, signed=True) or none_yet,
                _p_value(finding.always_valid_p_value),
                words.verdict_words(contrast, comparison.margin),
            ]
        )
    by = "verdicts by the always-valid p"
    if any(contrast.declared for contrast in contrasts):
        by = "verdicts, always-valid intervals and their p by the sweep's policy"
    headers = ["arm", "baseline", "pairs", "difference", "95 % (one look)", "p (one look)"]
    headers += ["95 % (always valid)", "p (always valid)", "verdict"]
    return [TextTable(title=f"{title}, paired by seed (p corrected by Holm; {by})", headers=headers, rows=rows)]


def _wins(contrasts: Sequence[Contrast], title: str) -> TextTable:
    rows = [
        [
            contrast.label,
            contrast.baseline,
            *(str(number) for number in (wins.won, wins.lost, wins.left_out)),
            _p_value(wins.p_value),
            wins.verdict.value,
        ]
        for contrast in contrasts
        if (wins := contrast.wins) is not None
    ]
    return TextTable(
        title=f"{title}, seeds won (a diverged run loses its seed; p always valid, corrected by Holm)",
        headers=["arm", "baseline", "won", "lost", "left out", "p (always valid)", "verdict"],
        rows=rows,
    )


def _tuned(comparison: Comparison) -> TextTable:
    rows = []
    for one in comparison.tuned:
        best = "" if one.value is None else value_text(one.value)
        unusable = ", ".join(map(value_text, one.unusable))
        against = ["", "", ""] if one.verdict is None else [one.baseline, _p_value(one.p_value), one.verdict.value]
        rows.append([one.label, best, _number(one.mean), str(one.seeds), unusable, *against])
    best = f"best {comparison.tune}"
    return TextTable(
        title=f"each at its {best}, chosen by these seeds (p always valid, corrected by Holm)",
        headers=["group", best, "mean there", "seeds", "all diverged at", "baseline", "p", "verdict"],
        rows=rows,
    )


def _times(comparison: Comparison) -> TextTable:
    there = [(place, group.target) for place, group in enumerate(comparison.groups) if group.target is not None]
    rows = [[*_values(comparison, place), *_time_cells(target)] for place, target in there]
    return TextTable(
        title=f"to reach {_number(comparison.target)} (medians over runs; one that never does counts as the latest)",
        headers=[*comparison.by, "reached", "never", "not known", "training time", "tokens", "steps"],
        rows=rows,
    )


def _time_cells(times: TargetTimes) -> list[str]:
    counts = [str(times.reached), str(times.never), str(times.open)]
    if times.median_seconds is None or times.median_tokens is None or times.median_steps is None:
        return [*counts, *["not reached" if times.never else ""] * 3]
    time = f"{times.median_seconds:.2g} s" if times.median_seconds < 10 else duration(times.median_seconds)
    return [*counts, time, short_count(times.median_tokens), number_text(round(times.median_steps))]


def _looks(comparison: Comparison) -> str:
    earlier = comparison.earlier_looks
    recorded = ", recorded with the sweep" if comparison.is_recorded else ""
    text = f"look {len(earlier) + 1} at this question{recorded}; the always-valid numbers hold however often you look."
    if not earlier:
        return text
    moment = datetime.fromtimestamp(earlier[-1].at).astimezone().strftime("%Y-%m-%d %H:%M")
    return f"{text} The previous one, {moment}: {earlier[-1].seen}"


def _number(value: float | None, *, signed: bool = False) -> str:
    return "" if value is None else measured_text(value, signed=signed)


def _interval(interval: Interval | None, *, signed: bool = False) -> str:
    if interval is None:
        return ""
    return f"{_number(interval.low, signed=signed)} to {_number(interval.high, signed=signed)}"


def _p_value(p: float | None) -> str:
    if p is None:
        return ""
    if p < 0.001:
        return "<0.001"
    text = f"{p:.3f}"
    return f">{text}" if p > ALPHA >= float(text) else text  # it is not below ALPHA, so it must not look so
