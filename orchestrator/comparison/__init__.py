"""What `hlbq compare` answers: which arm is better, and how sure one can be.

    statistics.py     intervals, tests and their always-valid forms: numbers in, numbers out
    noise.py          whether noise is such that those may be wrong; advice.py: what further seeds would do
    questions.py      what is asked
    measures.py       the one number of a run that is compared, and when it reached a target
    groups.py         the runs of the database by group; evaluations.py: what must not be compared
    design.py         what the sweep's definition fixes: arms, factors, baseline, sizes of families
    pairs.py          two sides seed by seed; contrasts.py: the verdicts; robust.py: by the seeds won alone
    effects.py        main effects, interactions and shares of variance of a factorial sweep
    tune.py           groups, each at its best value of a setting
    families.py       which of these are asked for, each corrected for its size
    cautions.py       what a reader must know before believing it
    results.py        the whole answer, and the looks that are recorded of it; extension.py: the seeds to add
    rendering.py      the answer as text for a terminal, and as Markdown; verdict_words.py: each verdict in a sentence

docs/comparison.md explains the statistics and cites their sources.
"""
