"""Sweeps that grow by themselves. A policy is declared first; a step is a pure function of results.

policy.py       what is declared, and what a step says
evidence.py     results in the order of seeds, and the evidence after each
decide.py       seeds until the verdict is in: one step
race.py         the same where the best of many arms is sought
"""
