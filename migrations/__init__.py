"""The database's history, one file a revision, run by Alembic through orchestrator/store/opening/schema.py."""
