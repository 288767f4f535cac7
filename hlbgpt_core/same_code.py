"""Digests of code that computes the same numbers, as replaying recorded trajectories has shown.

A run that one digest of a group began goes on under another of it, and is the same run. Code that a user has edited has
a digest that stands in no group.
"""

# Each group from old to new; the last of all is this package's own code. After a change of the core a test asks for it:
# did `python -m hlbgpt_core.replay` show that no number changed, then the new digest joins the last group; else it
# begins a group of its own. `python -m hlbgpt_core.code_digest` prints it.
SAME_CODE = (
    (
        "3c3b34348d03c2c2",  # commit 832bbf9, by the digest that counted every byte of every file
        "6d2944df0b452a1f",
        "700579b399e588cf",
    ),
)
