"""Digests of code that computes the same numbers, as replays of recorded trajectories have shown.

A run that started under one digest of a group may resume under another, and is the same run. Code that a user has
edited has a digest outside all groups.
"""

# Each group from old to new; the very last digest is this package's own code. After a change of the core a test asks
# for the new digest (`python -m hlbgpt_core.code_digest` prints it). If `python -m hlbgpt_core.replay` shows that no
# number changed, it joins the last group; else it starts a new group.
SAME_CODE = (
    (
        # Commit 832bbf9, by the digest that counted every byte of every file. Equal but for runs of recipe 0.3.0 whose
        # warm-up is shorter than a step: since then they learn at slightly lower rates, as torch's schedule does.
        "3c3b34348d03c2c2",
        "d71bd3c42b933c60",
        # The fast path's sums are taken in another order: in float64 its losses agree to 1e-15, in float32 to 2e-6. The
        # plain path's are the same to the bit.
        "7e95f33850a0e682",
        # The same sums in the same order; what `train` did itself stands in preparation.py.
        "b3a8d463f175c56b",
        # A bound on the tokens of 0.3.0, which people are shown; what is trained is the same.
        "8f2d414604fc3057",
        # Words of messages, globs in a folder whose name looks like one, names that metrics may not have.
        "5a8e0ca0c87b68a1",
    ),
)
