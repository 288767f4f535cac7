"""Numbers of evaluations that read different text: what they differ in, and the words of the refusal."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hlbgpt_core.points import Split
from orchestrator.sweep.options import value_text

ALLOW_MIXED_EVALUATION = "--allow_mixed_evaluation"
_MEASURED = ("loss", "acc", "pplx", "bits_per_byte")
# A token is not the same thing under two tokenizers.
COUNTS_TOKENS = ("loss", "acc", "pplx")


@dataclass(frozen=True, kw_only=True)
class EvaluatedRun:
    """What tells the evaluations of a run; fingerprints are empty where they are not known."""

    settings: Mapping[str, Any]
    data_fingerprint: str
    evaluation_fingerprint: str


@dataclass(frozen=True, kw_only=True)
class MixedEvaluations:
    """`differ_in` is what the evaluations of some runs differ in: `num_eval_tokens 2048, 8192`."""

    metric: str
    differ_in: str
    hint: str

    @property
    def refusal(self) -> str:
        """Why the runs are not compared."""
        why = f"they read different text ({self.differ_in})"
        return f"'{self.metric}' of different evaluations can't be compared: {why}"

    @property
    def caution(self) -> str:
        """What to know if they are compared all the same."""
        return f"'{self.metric}' is of different evaluations, which read different text: {self.differ_in}"


def evaluated_split(metric: str) -> Split | None:
    """The split whose evaluations a metric is measured on; None for what training measures, and for counters."""
    name = metric.replace("-", "_")
    if not name.endswith(_MEASURED):
        return None
    if name == "bits_per_byte":
        return Split.VAL
    return next((split for split in (Split.VAL, Split.TEST) if name.startswith(f"{split}_")), None)


def mixed_evaluations(runs: Iterable[EvaluatedRun], metric: str) -> MixedEvaluations | None:
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
        hint = f"Choose runs with filters, or add {ALLOW_MIXED_EVALUATION}."
        return MixedEvaluations(metric=metric, differ_in=differ_in, hint=hint)
    differ_in = "; ".join(f"{name} {', '.join(map(value_text, values))}" for name, values in causes.items())
    name, values = next(iter(causes.items()))
    hint = f"Choose one: --where {name}={value_text(values[0])}   Or add {ALLOW_MIXED_EVALUATION}."
    if "max_sequence_length" in causes:
        hint += " Arms submitted with one --eval_sequence_length can be compared."
    return MixedEvaluations(metric=metric, differ_in=differ_in, hint=hint)


def unlike_settings(arms: Sequence[Mapping[str, Any]], metric: str) -> Mapping[str, Sequence[Any]]:
    """The settings for which numbers of `metric` of these arms mean different things, with their values in order: told
    before any run, so that nobody decides by them."""
    whole = ("dataset", "tokenizer") if metric.endswith(COUNTS_TOKENS) else ("dataset",)
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
