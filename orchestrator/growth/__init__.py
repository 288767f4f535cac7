"""Sweeps that grow by themselves. A policy is declared first; a step is a pure function of results.

steps.py        what a step reads and says
decide.py       seeds until the verdict is in: one step
race.py         the same where the best of many arms is sought
search.py       arms that a sampler proposes: one step; search_space.py what it may try
early_stopping.py  which arms of a search are stopped at a rung
declaring.py    from what was typed to a declared policy
reading.py      what became of a policy's arms
searching.py    what one step of a search reads and writes
reconciler.py   takes the steps that are due, and writes them
standing.py     how a policy stands, for people; policy_runs.py what they must know of its runs
by_hand.py      what a person adds to a sweep
"""
