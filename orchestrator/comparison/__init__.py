"""What `hlbq compare` answers: which arm is better, and how sure one can be.

    statistics.py  intervals, tests and their always-valid forms: numbers in, numbers out
    measures.py    the one number of a run that is compared, and when it reached a target
    groups.py      the runs of the database by group, and what must not be compared
    contrasts.py   each group against its baseline, seed by seed: the verdicts
    cautions.py    what a reader must know before believing it
    results.py     the whole answer, and the looks that are recorded of it
    rendering.py   the answer as text for a terminal, and as Markdown

docs/comparison.md explains the statistics and cites their sources.
"""
