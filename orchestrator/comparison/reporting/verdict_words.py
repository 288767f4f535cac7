"""The verdicts of a comparison in words, with what more seeds would do and cost."""

from orchestrator.comparison.judging.advice import MOST_FURTHER_PAIRS
from orchestrator.comparison.judging.contrasts import Contrast, Verdict
from orchestrator.comparison.judging.effects import Shares
from orchestrator.comparison.judging.robust import FEWEST_SEEDS, Wins, WinVerdict
from orchestrator.comparison.judging.tune import Tuned
from orchestrator.comparison.measuring.measures import NO_RUN
from orchestrator.wording.numbers import counted, duration, measured_text

# More seeds without a pair than this are counted and not named.
MOST_SEEDS_NAMED = 10


def verdict_words(contrast: Contrast, margin: float | None) -> str:
    """The verdict: `better`, `worse, by less than 0.01`, `no difference larger than 0.01`."""
    finding = contrast.finding
    if finding.verdict is Verdict.NO_DIFFERENCE:
        return f"no difference larger than {margin:g}"
    if finding.is_within_margin and finding.verdict not in (Verdict.UNDECIDED, Verdict.IDENTICAL):
        return f"{finding.verdict}, by less than {margin:g}"
    return finding.verdict.value


def verdict_sentence(contrast: Contrast, margin: float | None) -> str:
    """The verdict with its pairs, or what stands in its way and what more seeds would do."""
    who = f"{contrast.label} against {contrast.baseline}"
    if contrast.wins is not None:
        return f"{who}: {_wins_words(contrast.wins)}."
    if contrast.declared:
        return f"{who}: {contrast.declared}."
    finding, pairs = contrast.finding, counted(len(contrast.pairs.differences), "pair")
    if finding.verdict is Verdict.IDENTICAL:
        number = len(contrast.pairs.differences)
        pairs = f"all {pairs}" if number > 1 else "its one pair"
        return f"{who}: identical in {pairs}: does the setting do anything?"
    if finding.held_back is not None:
        looks = "as if there were none" if finding.held_back is Verdict.NO_DIFFERENCE else finding.held_back
        return f"{who}: undecided. It looks {looks} in the {pairs} that did not diverge, but {_diverged(contrast)}"
    if contrast.pairs.lost_to_divergence:
        return f"{who}: undecided, with {pairs} and so no interval: {_diverged(contrast)}"
    if contrast.pairs.out_of_reach:
        return f"{who}: undecided, with {pairs}: runs that are complete have no number there."
    words = verdict_words(contrast, margin)
    if finding.verdict is Verdict.NO_DIFFERENCE:
        return f"{who}: {words}, over {pairs}."
    if finding.verdict is not Verdict.UNDECIDED:
        size = f"{measured_text(abs(finding.difference.summary.mean or 0.0))} over {pairs}"
        return f"{who}: {words} ({size})." if finding.is_within_margin else f"{who}: {words}, by {size}."
    return f"{who}: {_undecided(contrast, pairs)}"


def _diverged(contrast: Contrast) -> str:
    return (
        f"runs diverged at {counted(contrast.pairs.diverged, 'seed')} of it and {contrast.pairs.baseline_diverged} of "
        "the baseline, and more seeds do not help. --robust counts a diverged run as a lost seed."
    )


def _undecided(contrast: Contrast, pairs: str) -> str:
    advice, under_way = contrast.finding.advice, contrast.pairs.waiting
    waiting = f" ({under_way} {'is' if under_way == 1 else 'are'} under way)" if under_way else ""
    if advice is None:
        return f"undecided after {pairs}."
    if advice.is_early:
        few = ", with no interval" if contrast.finding.difference.summary.count < 2 else ""
        begin = f"Begin with {advice.likely} more{waiting}."
        return f"undecided after {pairs}{few}; too early to say how many seeds it needs. {begin}"
    if advice.soon is None:
        return (
            f"undecided after {pairs}, and more than {MOST_FURTHER_PAIRS} further seeds would be needed: if there is "
            "an effect, it is small against the noise between seeds."
        )
    more = f"more than {MOST_FURTHER_PAIRS}" if advice.likely is None else f"{advice.likely}"
    seeds = counted(advice.soon, "more seed")
    cost = _cost(contrast, advice.likely or advice.soon)
    return f"undecided after {pairs}; decided by {seeds} in 1 of 3 cases, by {more} in 2 of 3{waiting} ({cost})."


def _cost(contrast: Contrast, seeds: int) -> str:
    """`20 seeds are 40 runs, 3 h 20 min of one device`: those of all its arms."""
    seconds = 0.0 if contrast.seconds_a_seed is None else seeds * contrast.seconds_a_seed
    time = f", {duration(seconds)} of one device" if seconds >= 1 else ""
    are = "is" if seeds == 1 else "are"
    return f"{counted(seeds, 'seed')} {are} {counted(seeds * len(contrast.arms), 'run')}{time}"


def _wins_words(wins: Wins) -> str:
    """`wins more often (11 of 12 seeds)`."""
    told = f"({wins.won} of {counted(wins.seeds, 'seed')})"
    if wins.verdict is WinVerdict.UNDECIDED and wins.seeds < FEWEST_SEEDS:
        return f"undecided by the seeds won {told}; below {FEWEST_SEEDS} no verdict is possible"
    return f"undecided by the seeds won {told}" if wins.verdict is WinVerdict.UNDECIDED else f"{wins.verdict} {told}"


def lost_pairs(contrast: Contrast) -> list[str]:
    """The seeds that are no pair, by why."""
    seeds: dict[str, list[int]] = {}
    for lost in contrast.pairs.lost:
        if contrast.declared and lost.why.endswith(NO_RUN.why):  # an arm that is closed gets no more seeds
            continue
        seeds.setdefault(lost.why, []).append(lost.seed)
    found = []
    for why, own in seeds.items():
        named = ", ".join(str(seed) for seed in own[:MOST_SEEDS_NAMED])
        more = f" and {len(own) - MOST_SEEDS_NAMED} more" if len(own) > MOST_SEEDS_NAMED else ""
        found.append(f"{contrast.label}: no pair of seed {named}{more} ({why})")
    return found


def tuned_sentence(name: str, tuned: Tuned) -> str:
    """Whether a group is better at its best value of the setting `name`."""
    who = f"{tuned.label} against {tuned.baseline}, each at its best {name}"
    if tuned.verdict is Verdict.BETTER:
        return f"{who}: better. Some {name} of it beats every {name} of {tuned.baseline}."
    if tuned.verdict is Verdict.WORSE:
        return f"{who}: worse. Some {name} of {tuned.baseline} beats every {name} of it."
    return f"{who}: undecided."


def shares_sentence(shares: Shares) -> str:
    """What each factor contributes to the differences between arms."""
    told = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.of.items())
    return (
        f"Share of the variance between arms, noise subtracted, over {counted(shares.seeds, 'seed')}: {told}. "
        "The rest is noise and what more factors do together."
    )
