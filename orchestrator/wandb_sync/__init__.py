"""`hlbq sync`: sends runs to W&B, from the database alone. docs/wandb.md explains how.

rows.py      points as rows of W&B's history; name, group, tags, config, summary (pure)
session.py   one connection to W&B, the only place that imports wandb; and offline files
leases.py    a folder of one's own, and leases on runs
syncing.py   from the runs that have news to W&B and the marks
"""
