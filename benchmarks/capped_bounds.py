"""Makes the table of evidence that a declared cap asks for: orchestrator/comparison/judging/capped_bounds.json.

    python -m benchmarks.capped_bounds

Equal arms are looked at after every seed, from a first look to a cap. The table holds, for each cap, first look and
number of open arms k, the evidence that at most a share ALPHA / k of them ever reaches: the simulated quantile at the
upper end of its 99 % confidence interval (Clopper and Pearson, 1934), and never more than Ville's k / ALPHA.
"""

import json
from pathlib import Path

import numpy
from scipy.stats import beta

from orchestrator.comparison.statistics import ALPHA, log_evidence

CAPS = (4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100)
FIRST_LOOKS = (2, 3, 4, 5, 8)
OPEN_ARMS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 50, 100, 200, 500, 1000)
SIMULATIONS = 4_000_000
SEED = 20261128
CONFIDENCE = 0.99
# Of the histogram of log evidence, from 0 on. What is below 0 decides nothing.
BIN, BINS = 0.001, 20_000


def main() -> None:
    """Simulate, and write the table."""
    target = Path(__file__).parents[1] / "orchestrator" / "comparison" / "judging" / "capped_bounds.json"
    target.write_text(json.dumps(table(SIMULATIONS), indent=1) + "\n", encoding="utf-8")


def table(simulations: int) -> dict[str, object]:
    """The file's content: the evidence by first look, then by cap, one number for each of `open_arms`."""
    counts = _histograms(simulations)
    bounds = {
        str(first): {str(cap): _bounds(counts[first, cap], simulations) for cap in CAPS if cap >= first}
        for first in FIRST_LOOKS
    }
    made_by = f"python -m benchmarks.capped_bounds: {simulations} simulations, seed {SEED}"
    return {"made_by": made_by, "open_arms": OPEN_ARMS, "evidence": bounds}


def _histograms(simulations: int, chunk: int = 50_000) -> "dict[tuple[int, int], numpy.typing.NDArray[numpy.int64]]":
    """How many simulations have their largest log evidence in each bin, by first look and cap."""
    generator = numpy.random.default_rng(SEED)
    counts = {(first, cap): numpy.zeros(BINS + 1, numpy.int64) for first in FIRST_LOOKS for cap in CAPS if cap >= first}
    for done in range(0, simulations, chunk):
        size = min(chunk, simulations - done)
        mean, squares = generator.standard_normal(size), numpy.zeros(size)
        largest = {first: numpy.full(size, -numpy.inf) for first in FIRST_LOOKS}
        for pairs in range(2, max(CAPS) + 1):
            step = generator.standard_normal(size) - mean
            mean = mean + step / pairs
            squares += step**2 * (pairs - 1) / pairs
            evidence = log_evidence(mean * numpy.sqrt(pairs * (pairs - 1) / squares), pairs)
            for first in FIRST_LOOKS:
                if pairs >= first:
                    numpy.maximum(largest[first], evidence, out=largest[first])
                if (first, pairs) in counts:
                    bins = numpy.clip(largest[first] / BIN, 0, BINS).astype(numpy.int64)
                    counts[first, pairs] += numpy.bincount(bins, minlength=BINS + 1)
    return counts


def _bounds(counts: "numpy.typing.NDArray[numpy.int64]", simulations: int) -> list[float]:
    """The least evidence, by a bin's lower edge, that at most ALPHA / k of all reach, for each k of OPEN_ARMS."""
    reached = numpy.cumsum(counts[::-1])[::-1]
    share = beta.ppf(CONFIDENCE, reached + 1, simulations - reached)
    found = []
    for arms in OPEN_ARMS:
        first = int(numpy.argmax(share <= ALPHA / arms))
        found.append(round(min(float(numpy.exp(first * BIN)), arms / ALPHA), 3))
    return found


if __name__ == "__main__":
    main()
