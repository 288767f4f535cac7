"""How often `hlbq compare` is wrong, and how many seeds it takes: sweeps of random numbers, with looks and extensions.

    python -m benchmarks.verdicts

prints the tables of docs/verdicts.md, each with the rule that it is about (some five minutes). The tests run the same
functions with fewer sweeps.
"""

from collections.abc import Iterable, Sequence

from benchmarks.simulated_sweeps import (
    NOISES,
    Draw,
    Habit,
    advice_kept,
    by_margin,
    by_plain_t,
    by_t,
    by_wins,
    ever,
    exponential,
    false_effect_rate,
    false_rate_of_added_arms,
    false_tuning_rate,
    false_verdict_rate,
    heavy_tailed,
    normal,
    seeds_needed,
    warned,
)

SWEEPS = 2_000
ONE_ARM_SWEEPS = 20_000


def percent(share: float) -> str:
    """`2.8 %`; from ten on without a decimal."""
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.1f} %"


def table(title: str, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table as Markdown, a row as soon as it is known."""
    print(f"\n{title}\n", flush=True)
    print(f"| {' | '.join(headers)} |\n|{'---|' * len(headers)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def _following_advice() -> Iterable[Sequence[str]]:
    kinds: Sequence[tuple[str, Draw, Habit]] = [
        *((name, draw, Habit(first_seeds=first)) for name, draw in _DRAWS.items() for first in (2, 5)),
        *(
            (f"normal, each arm losing {100 * lost:.0f} % of its pairs", normal, Habit(first_seeds=5, lost=lost))
            for lost in (0.2, 0.5)
        ),
    ]
    for name, draw, habit in kinds:
        rates = [percent(false_verdict_rate(SWEEPS, arms, habit, draw)) for arms in (1, 3, 8)]
        yield [name, f"{habit.first_seeds} seeds", *rates]


_DRAWS = {"normal": normal, "heavy tails (t, 4 degrees)": heavy_tailed, "exponential, of equal size": exponential}


def _every_look() -> Iterable[Sequence[str]]:
    for name, noise in NOISES.items():
        yield [name, *(percent(ever(ONE_ARM_SWEEPS, 200, noise, rule)) for rule in (by_t, by_plain_t, by_wins))]


def _needed() -> Iterable[Sequence[str]]:
    for effect in (0.5, 1.0, 1.5, 2.0, 3.0, 5.0):
        kinds = ((1, by_t), (3, by_t), (1, by_wins))
        yield [
            f"{effect:g}",
            *(
                " / ".join(
                    "over 200" if needed > 200 else str(needed)
                    for share in (0.5, 0.8, 0.95)
                    for needed in [seeds_needed(ONE_ARM_SWEEPS, effect, share, arms=arms, rule=rule)]
                )
                for arms, rule in kinds
            ),
        ]


def _advice() -> Iterable[Sequence[str]]:
    for arms in (1, 3, 8):
        kept = [advice_kept(SWEEPS // arms, first, arms=arms) for first in (4, 5, 8)]
        yield [f"from the prior, {arms} {'arm' if arms == 1 else 'arms'}", *_both(kept)]
    for effect in (0.5, 1.0, 2.0, 3.0):
        yield [f"{effect:g}, 1 arm", *_both([advice_kept(SWEEPS, first, effect=effect) for first in (4, 5, 8)])]


def _both(kept: Sequence[tuple[float, float]]) -> Sequence[str]:
    return [f"{percent(soon)} / {percent(likely)}" for soon, likely in kept]


def _margins() -> Iterable[Sequence[str]]:
    for margin in (0.5, 1.0, 2.0):

        def rule(differences: object, margin: float = margin) -> object:
            return by_margin(differences, margin)

        at_margin = ever(ONE_ARM_SWEEPS, 200, NOISES["normal"], rule, effect=margin)
        needed = [
            seeds_needed(
                ONE_ARM_SWEEPS, 0.0, share, rule=lambda differences, _, margin=margin: by_margin(differences, margin)
            )
            for share in (0.5, 0.8, 0.95)
        ]
        yield [f"{margin:g}", percent(at_margin), " / ".join(map(str, needed))]


def _tuning() -> Iterable[Sequence[str]]:
    kinds = {"flat": (0.0, 0.0, 0.0, 0.0), "close": (0.0, 0.3, 0.6, 0.9), "distinct": (0.0, 2.0, 4.0, 6.0)}
    for name, means in kinds.items():
        yield [name, *(percent(false_tuning_rate(SWEEPS, means, 50, groups=groups)) for groups in (1, 3))]


def _effects() -> Iterable[Sequence[str]]:
    for shape in ((2, 2), (2, 3), (4, 3)):
        rates = [false_effect_rate(SWEEPS, shape, 50, interactions=interactions) for interactions in (False, True)]
        yield [f"{shape[0]} x {shape[1]}", *map(percent, rates)]


def _warnings() -> Iterable[Sequence[str]]:
    for name, noise in NOISES.items():
        for pairs in (8, 12, 20, 50) if name == "normal" else (8, 20):
            yield [name, str(pairs), *map(percent, warned(ONE_ARM_SWEEPS, pairs, noise))]


def main() -> None:
    """Print every table."""
    table(
        f"Rule: always-valid t-test, Holm. False verdicts of {SWEEPS:,} sweeps without any effect, up to 10 looks, "
        "each followed by the advised number of seeds (at most 10)",
        ["noise of a run", "first look at", "1 arm", "3 arms", "8 arms"],
        _following_advice(),
    )
    table(
        f"Rules: always-valid t-test; plain t-test; seeds won (--robust). False verdicts of {ONE_ARM_SWEEPS:,} sweeps "
        "of one arm, a look after every seed up to 200",
        ["noise of a run", "always valid", "plain t-test", "seeds won"],
        _every_look(),
    )
    table(
        f"Rule: always-valid t-test, Holm. False verdicts of {ONE_ARM_SWEEPS:,} sweeps where an equal arm with 50 "
        "seeds is added whenever no arm has a verdict, a look after every seed",
        ["arms in the end", "false"],
        ([str(arms), percent(false_rate_of_added_arms(ONE_ARM_SWEEPS, arms, 50))] for arms in (1, 5, 20)),
    )
    table(
        "Rules: always-valid t-test, seeds won. Seeds until a verdict, a look after every seed: 50 / 80 / 95 % of "
        "sweeps",
        ["effect", "t-test, one arm", "t-test, three arms", "seeds won, one arm"],
        _needed(),
    )
    table(
        "Rule: advice. Undecided arms that the advised seeds decide, stated 1 in 3 / stated 2 in 3",
        ["effect", "first look at 4 seeds", "5 seeds", "8 seeds"],
        _advice(),
    )
    table(
        "Rule: --margin. False 'no difference larger than' where the difference is the margin, a look after every seed "
        "up to 200; and seeds until it where there is no difference: 50 / 80 / 95 % of sweeps",
        ["margin", "false", "seeds"],
        _margins(),
    )
    table(
        f"Rule: --tune. False verdicts of {SWEEPS:,} sweeps of identical groups with four values, a look after every "
        "seed up to 50",
        ["values' means", "1 group and its baseline", "3 groups and their baseline"],
        _tuning(),
    )
    table(
        f"Rule: always-valid t-test, Holm over the family. False verdicts of {SWEEPS:,} factorial sweeps, a look after "
        "every seed up to 50",
        ["levels", "main effects", "interactions, beside true main effects"],
        _effects(),
    )
    table(
        "Rule: cautions. Arms warned of",
        ["noise of a run", "pairs", "skewed", "unequal deviations", "outlying pair", "any"],
        _warnings(),
    )


if __name__ == "__main__":
    main()
