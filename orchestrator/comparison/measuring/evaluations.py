"""Numbers that mean different things, of other tokens, data or evaluations: what they differ in, and the refusal."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hlbgpt_core.points import Split
from orchestrator.sweep.baseline import baseline_text
from orchestrator.sweep.options import value_text

# A token is not the same thing under two tokenizers.
_COUNTS_TOKENS = ("loss", "acc", "pplx")
_MEASURED = (*_COUNTS_TOKENS, "bits_per_byte")
# Settings that change what a run's numbers mean: the recipe by its defaults of the others.
SETTINGS_OF_MEANING = frozenset(
    {
        *("recipe", "dataset", "tokenizer"),
        *("num_eval_tokens", "test_tokens", "max_sequence_length", "eval_sequence_length"),
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluatedRun:
    """What tells the data and the evaluations of a run; fingerprints are empty where they are not known."""

    settings: Mapping[str, Any]
    data_fingerprint: str
    evaluation_fingerprint: str = ""


@dataclass(frozen=True, kw_only=True)
class MixedEvaluations:
    """`differ_in` is what the evaluations of some runs differ in: `num_eval_tokens 2048, 8192`."""

    metric: str
    differ_in: str
    hint: str

    @property
    def caution(self) -> str:
        """What to know if they are compared all the same."""
        return f"'{self.metric}' is of different evaluations, which read different text: {self.differ_in}"


def refusal_of(
    runs: Sequence[EvaluatedRun],
    metric: str,
    *,
    allow_mixed_data: bool,
    allow_mixed_evaluation: bool,
    option: str = "--metric",
    of_table: bool = False,
) -> tuple[str, str] | None:
    """Why the numbers of these runs can't be compared, and what to do; None where they can. `val_bits_per_byte` can be
    across tokenizers: it counts bytes of the same text. `option` is the one that chose the metric. From a table no
    filter chooses."""
    versions: dict[str, set[str]] = {}
    for run in runs:
        versions.setdefault(str(run.settings.get("tokenizer") or ""), set()).add(run.data_fingerprint)
    tokenizers = sorted(versions)
    if len(tokenizers) > 1 and metric.endswith(_COUNTS_TOKENS):
        across = f"'{metric}' counts tokens, and can't be compared across tokenizers: {', '.join(tokenizers)}"
        one = _choose_one({"tokenizer": tokenizers[0]}, of_table=of_table)
        return across, f"Use {option} val_bits_per_byte, or {one}"
    if not allow_mixed_evaluation and (mixed := mixed_evaluations(runs, metric, of_table=of_table)) is not None:
        why = f"they read different text ({mixed.differ_in})"
        return f"'{metric}' of different evaluations can't be compared: {why}", mixed.hint
    if allow_mixed_data:
        return None
    datasets = sorted({str(run.settings.get("dataset") or "") for run in runs})
    if len(datasets) > 1:
        one = _choose_one({"dataset": datasets[0]}, of_table=of_table)
        hint = f"{one[0].upper()}{one[1:]}   Or add --allow_mixed_data."
        return f"the runs were trained on different data: {', '.join(datasets)}", hint
    for tokenizer in tokenizers:
        known = sorted(versions[tokenizer] - {""})
        if len(known) > 1:
            told = f"{len(known)} versions of their data, with the fingerprints {', '.join(known)}"
            return f"the runs were trained on {told}", f"{_choose(of_table=of_table)}, or add --allow_mixed_data."
    return None


def _choose_one(values: Mapping[str, Any], *, of_table: bool) -> str:
    where = f"--where {baseline_text(values)}"
    return f"write a table of one: hlbq export one.csv {where}" if of_table else f"choose one: {where}"


def _choose(*, of_table: bool) -> str:
    return "Choose runs with the filters of hlbq export" if of_table else "Choose runs with filters"


def evaluated_split(metric: str) -> Split | None:
    """The split whose evaluations a metric is measured on; None for what training measures, and for counters."""
    name = metric.replace("-", "_")
    if not name.endswith(_MEASURED):
        return None
    if name == "bits_per_byte":
        return Split.VAL
    return next((split for split in (Split.VAL, Split.TEST) if name.startswith(f"{split}_")), None)


def mixed_evaluations(runs: Iterable[EvaluatedRun], metric: str, *, of_table: bool = False) -> MixedEvaluations | None:
    """What the evaluations of runs on the same data differ in, as far as they are known; None if they are the same. Of
    other data, and under other tokenizers, no two evaluations are the same: whoever compares those has asked for it."""
    split = evaluated_split(metric)
    known = [run for run in runs if run.evaluation_fingerprint]
    by_data: dict[str, set[str]] = {}
    for run in known:
        by_data.setdefault(run.data_fingerprint, set()).add(run.evaluation_fingerprint)
    mixed = next((data for data, found in by_data.items() if len(found) > 1), None)
    if split is None or mixed is None:
        return None
    causes = _causes([run.settings for run in known if run.data_fingerprint == mixed], split)
    if not causes:
        differ_in = f"fingerprints {', '.join(sorted(by_data[mixed]))}"
        hint = f"{_choose(of_table=of_table)}, or add --allow_mixed_evaluation."
        return MixedEvaluations(metric=metric, differ_in=differ_in, hint=hint)
    differ_in = "; ".join(f"{name} {', '.join(map(value_text, values))}" for name, values in causes.items())
    name, values = next(iter(causes.items()))
    one = _choose_one({name: values[0]}, of_table=of_table)
    hint = f"{one[0].upper()}{one[1:]}   Or add --allow_mixed_evaluation."
    if "max_sequence_length" in causes:
        hint += " Arms submitted with one --eval_sequence_length can be compared."
    return MixedEvaluations(metric=metric, differ_in=differ_in, hint=hint)


def unlike_settings(arms: Sequence[Mapping[str, Any]], metric: str) -> Mapping[str, Sequence[Any]]:
    """The settings for which numbers of `metric` of these arms mean different things, with their values in order: told
    before any run, so that nobody decides by them."""
    whole = ("dataset", "tokenizer") if metric.endswith(_COUNTS_TOKENS) else ("dataset",)
    values = {name: sorted({str(arm[name]) for arm in arms}) for name in whole}
    found: dict[str, Sequence[Any]] = {name: named for name, named in values.items() if len(named) > 1}
    if (split := evaluated_split(metric)) is not None:
        for tokenizer in {arm["tokenizer"] for arm in arms}:
            found |= _causes([arm for arm in arms if arm["tokenizer"] == tokenizer], split)
    return found


def _causes(settings: Sequence[Mapping[str, Any]], split: Split) -> Mapping[str, Sequence[Any]]:
    """The settings that make evaluations of `split` differ, with their values in order."""
    lengths = {one.get("eval_sequence_length") or one.get("max_sequence_length") for one in settings}
    own = {one.get("eval_sequence_length") or 0 for one in settings}
    names = ["test_tokens"] if split is Split.TEST else ["num_eval_tokens", "test_tokens"]
    if len(lengths) > 1:
        names.append("eval_sequence_length" if len(own) > 1 else "max_sequence_length")
    values = {name: sorted({one.get(name) or 0 for one in settings}) for name in names}
    return {name: found for name, found in values.items() if len(found) > 1}
