"""Sweeps that grow by themselves. A policy is declared first; a step is a pure function of results.

steps.py        what a step reads and says
evidence.py     results in the order of seeds, and the evidence after each
decide.py       seeds until the verdict is in: one step
race.py         the same where the best of many arms is sought
declaring.py    from what was typed to a declared policy
reconciler.py   reads results, takes the steps that are due, writes them
standing.py     how a policy stands, for people
"""
