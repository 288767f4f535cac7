"""What `hlbq compare` answers: which arm is better, and how sure one can be.

    results.py      the whole answer, and the looks that are recorded of it
    questions.py    what is asked; question_options.py: by the options of the command
    design.py       what the sweep's definition fixes: arms, factors, baseline, sizes of families
    planning.py     how many seeds a verdict will need, before anything is trained
    statistics.py   intervals, tests and their always-valid forms: numbers in, numbers out
    measuring/      from runs to numbers by group: measures, evaluations, groups, pairs of seeds
    judging/        from numbers to verdicts: contrasts, families, effects, tuned groups, declared policies
    reporting/      for readers: tables, sentences, cautions, seeds to add

docs/verdicts.md explains the statistics and cites their sources.
"""
