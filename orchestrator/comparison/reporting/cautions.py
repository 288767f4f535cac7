"""What a reader of a comparison must know before believing it."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.code.differences import diff_size
from orchestrator.code.names import known_sources
from orchestrator.comparison.judging.contrasts import Contrast
from orchestrator.comparison.measuring.compared_runs import ComparedRun
from orchestrator.comparison.measuring.evaluations import mixed_evaluations
from orchestrator.comparison.measuring.groups import Group, Grouping, evaluated
from orchestrator.comparison.measuring.measures import Measure, Standing
from orchestrator.export.metric_names import Axis
from orchestrator.queue.code import MIXED, SHOWN_LETTERS, SameCode
from orchestrator.queue.runs import RunRecord
from orchestrator.store import Store
from orchestrator.wording.numbers import counted

MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class CodesBeside:
    """A digest of each code, in the order of runs, and the caution; the text is empty of one code."""

    digests: Sequence[str]
    text: str


def grouping_warnings(grouping: Grouping, contrasts: Sequence[Contrast], baseline: Mapping[str, Any]) -> list[str]:
    """What to know of the groups: doubled runs, averages over arms, single seeds, missing baselines."""
    found = []
    if grouping.left_out:
        found.append(repeated_runs(grouping.left_out))
    if grouping.averaged_over:
        over = ", ".join(grouping.averaged_over)
        found.append(f"groups hold several arms: a seed's number is the mean over its arms ({over})")
    results = [result for group in grouping.groups for result in group.results]
    if diverged := sum(result.measured.standing is Standing.DIVERGED for result in results):
        found.append(f"{diverged} of the runs diverged: means are over the other seeds")
    if alone := [group.label for group in grouping.groups if len(group.seeds) == 1 and _has_a_number(group)]:
        found.append(f"one seed only, so no deviation and no interval: {few(alone, '; ')}")
    if contrasts and len({group.rests for group in grouping.groups}) > 1:
        found.append(
            "the groups do not hold the same arms: each difference is over the arms that both of its groups have, and "
            "is not the difference of their means"
        )
    if baseline:
        told = {contrast.label for contrast in contrasts}
        left = [group for group in grouping.groups if group.label not in told]
        none = [group.label for group in left if any(group.values[name] != value for name, value in baseline.items())]
        if none:
            found.append(f"no baseline with the same other settings: {few(none, '; ')}")
        named = {*none, *(contrast.baseline for contrast in contrasts)}
        if alone := [group.label for group in left if group.label not in named]:
            found.append(f"nothing to compare with that baseline at the same other settings: {few(alone, '; ')}")
    return found


def repeated_runs(number: int) -> str:
    """That so many runs do not count, since others of the same arm and seed do."""
    return f"{counted(number, 'run')} left out: of one arm and seed, only the newest run counts"


def noise_warnings(contrasts: Sequence[Contrast]) -> list[str]:
    """Contrasts whose noise is such that the t-test is wrong more often than it says, by what was seen."""
    import numpy

    from orchestrator.comparison.judging.noise import FEWEST_PAIRS, OUTLYING, strange

    seen: dict[str, list[str]] = {
        "the differences are skewed": [],
        "the numbers scatter much more on one side than on the other": [],
        f"one pair lies more than {OUTLYING:.0f} deviations from the others": [],
    }
    for contrast in contrasts:
        pairs = contrast.pairs
        if len(pairs.differences) < FEWEST_PAIRS or pairs.are_identical:
            continue
        baseline = numpy.array([pairs.baseline_values[seed] for seed in pairs.differences])
        own = baseline + numpy.array(list(pairs.differences.values()))
        for labels, is_strange in zip(seen.values(), strange(own, baseline), strict=True):
            if is_strange:
                labels.append(contrast.label)
    found = [f"{what} ({few(labels)})" for what, labels in seen.items() if labels]
    if not found:
        return []
    return [f"{'; '.join(found)}: verdicts may be false more often than 1 in 20; --robust counts seeds won instead"]


def _has_a_number(group: Group) -> bool:
    return any(result.measured.standing is Standing.MEASURED for result in group.results)


def few(labels: Sequence[str], between: str = ", ") -> str:
    """The first of the labels, and how many more there are."""
    more = f" and {len(labels) - MOST_NAMED} more" if len(labels) > MOST_NAMED else ""
    return between.join(labels[:MOST_NAMED]) + more


def unit_warnings(store: Store, runs: Sequence[ComparedRun], measure: Measure, *, timed: bool) -> list[str]:
    """Where evaluations, seconds or tokens do not mean the same in all runs."""
    mixed = mixed_evaluations(evaluated(runs, measure.metric.name), measure.metric.name)
    found = [] if mixed is None else [mixed.caution]
    if measure.axis is Axis.TOKENS and len({run.settings.get("tokenizer") for run in runs}) > 1:
        found.append("runs of different tokenizers are compared at the same number of tokens, not of bytes")
    if timed or measure.counts_seconds:
        found += seconds_warnings(store, runs)
    return found


def code_warnings(store: Store, runs: Sequence[ComparedRun]) -> list[str]:
    """Where the runs were computed by different codes: which, and how large the difference is where that is known."""
    same = store.same_code()
    beside = codes_beside(same, runs)
    mixed = [str(run.id) for run in runs if same.are_mixed(run.code)]
    warnings = []
    if beside.text:
        warnings.append(beside.text)
        warnings += [difference_text(store, before, after) for before, after in itertools.pairwise(beside.digests)]
    if mixed:
        warnings.append(f"computed by more than one code ({MIXED}): {counted(len(mixed), 'run')}, {', '.join(mixed)}")
    return warnings


def codes_beside(same: SameCode, runs: Iterable[ComparedRun | RunRecord]) -> CodesBeside:
    """The codes of runs that one code computed each, by the digests that the runs have: the one that stands for all
    that are the same may be of none of them."""
    found: dict[str, list[str]] = {}
    for run in runs:
        codes = same.codes(run.code)
        if len(codes) == 1:
            found.setdefault(codes[0], []).append(run.code[-1].digest)
    digests = [own[0] for own in found.values()]
    told = (f"{own[0][:SHOWN_LETTERS]} ({counted(len(own), 'run')})" for own in found.values())
    text = f"runs of {len(found)} codes are shown together: {', '.join(told)}" if len(found) > 1 else ""
    return CodesBeside(digests=digests, text=text)


def difference_text(store: Store, before: str, after: str) -> str:
    """`from aaaa0000 to bbbb0000: 2 files, 10 lines (hlbq code diff aaaa0000 bbbb0000)`."""
    names = before[:SHOWN_LETTERS], after[:SHOWN_LETTERS]
    old, new = known_sources(store, before), known_sources(store, after)
    size = "sources not kept" if old is None or new is None else diff_size(old, new)
    return f"from {names[0]} to {names[1]}: {size} (hlbq code diff {' '.join(names)})"


def seconds_warnings(store: Store, runs: Sequence[ComparedRun]) -> list[str]:
    """Where the runs' seconds do not mean the same: other devices, or more neighbours on them."""
    ran = [run for run in runs if run.fence]
    found = device_warnings(str(run.facts.get("device_name") or "") for run in ran)
    slots = store.shared_slots([run.id for run in ran])
    if len(slots) > 1:
        different = f"with different numbers of others: {', '.join(map(str, slots))} slots"
        found.append(f"seconds are compared of runs that shared their device {different}")
    return found


def device_warnings(names: Iterable[str]) -> list[str]:
    """Where seconds are of devices with several names; an empty name is not known."""
    devices = sorted(set(names) - {""})
    return [f"seconds of different devices are compared: {', '.join(devices)}"] if len(devices) > 1 else []
