"""What a run's evaluations read, and its fingerprint: losses can be compared only where this is the same.

Only the standard library is imported here. A run that was stored before fingerprints were gets its own from its
settings and its data, by the same function.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from hlbgpt_core.points import Split
from hlbgpt_core.settings import DEFAULT_RECIPE, defaults

# Draws where the sequences of an evaluation start, in one order for every run.
EVALUATION_SEED = 20_240_304
WHOLE_TEXT, FIRST_HALF = "whole", "first half"

# The facts that hold the fingerprints.
_FACTS = {Split.VAL: "evaluation_fingerprint", Split.TEST: "test_evaluation_fingerprint"}


def fingerprint_of(split: Split, settings: Mapping[str, Any], *, text: str, part: str = WHOLE_TEXT) -> str:
    """The fingerprint of the evaluations of `split` under resolved `settings`, of the text with the fingerprint `text`.

    A setting that is not there is at its recipe's default.
    """
    known = {**defaults(settings.get("recipe", DEFAULT_RECIPE)), **settings}
    length = known["eval_sequence_length"] or known["max_sequence_length"]
    tokens = known["test_tokens" if split is Split.TEST else "num_eval_tokens"]
    read = [str(split), text, part, tokens // length, length, EVALUATION_SEED]
    return hashlib.sha256(json.dumps(read).encode()).hexdigest()[:16]


def second_half_fingerprint(data_fingerprint: str) -> str:
    """The fingerprint of a test text that is the second half of the validation text of this data."""
    return hashlib.sha256(json.dumps(["second half of the validation text", data_fingerprint]).encode()).hexdigest()


def known_fingerprint(split: Split, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """The fingerprint of a run's evaluations, from its facts; empty where they are not known, and for training."""
    if split not in _FACTS:
        return ""
    if found := facts.get(_FACTS[split]):
        return str(found)
    text = facts.get("data_fingerprint")
    # Whoever was stored without fingerprints had no test text, and was evaluated on the whole of the other.
    return fingerprint_of(split, settings, text=str(text)) if text and split is Split.VAL else ""
