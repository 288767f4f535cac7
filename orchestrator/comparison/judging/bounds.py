"""How much evidence decides: Ville's bound, and the smaller one of a cap that was declared before any look.

Evidence is the Bayes factor of `statistics.log_evidence`. Between equal arms it ever reaches 1 / level with probability
at most `level` (Ville, 1939). With at most `cap` pairs it gets less far: benchmarks/capped_bounds.py simulates how far,
and capped_bounds.json holds what it found.
"""

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.comparison.statistics import ALPHA


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The evidence that decides. A `cap` of None stands for any number of looks, without a cap on seeds."""

    cap: int | None = None
    first_look: int = 2

    def evidence(self, open_arms: int) -> float:
        """The evidence at which one of `open_arms` arms is decided: Holm's level for it is ALPHA / open_arms. A cap,
        first look or number of arms that the table lacks takes the next stricter one that it has."""
        ville = open_arms / ALPHA
        if self.cap is None:
            return ville
        table = _capped()
        first_looks = [first for first in map(int, table["evidence"]) if first <= self.first_look]
        caps = table["evidence"][str(max(first_looks))] if first_looks else {}
        enough = [cap for cap in map(int, caps) if cap >= self.cap]
        places = [place for place, arms in enumerate(table["open_arms"]) if arms >= open_arms]
        return min(ville, caps[str(min(enough))][places[0]]) if enough and places else ville

    def p_value(self, log_evidence: float) -> float:
        """The smallest level at which this much evidence decides one arm: 1 / evidence, or a smaller one of the table.
        So k times it is at most ALPHA exactly where the evidence decides one of k open arms."""
        arms = [] if self.cap is None else _capped()["open_arms"]
        levels = [ALPHA / number for number in arms if log_evidence >= math.log(self.evidence(number))]
        return float(min(1.0, math.exp(-max(log_evidence, 0.0)), *levels))

    @property
    def text(self) -> str:
        """`evidence of 10.2, for at most 20 seeds`."""
        seeds = "any number of seeds" if self.cap is None else f"at most {self.cap} seeds"
        return f"evidence of {self.evidence(1):.3g}, for {seeds}"


VILLE = Bound()


@functools.cache
def _capped() -> Mapping[str, Any]:
    """The `evidence` by first look and cap, one number for each of `open_arms`."""
    found: Mapping[str, Any] = json.loads(Path(__file__).with_name("capped_bounds.json").read_text(encoding="utf-8"))
    return found
