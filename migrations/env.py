"""Where Alembic enters. The connection, its transaction and the lock belong to orchestrator/store/opening/schema.py.

To write the next revision: change orchestrator/store/tables.py, copy the newest file in versions/, count its
`revision` up, and set `head` in orchestrator/store/opening/schema.py. A test holds the two ways to a schema equal.
"""

from alembic import context

from orchestrator.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # Alembic takes SQLite's DDL for non-transactional. It is not: a migration killed midway leaves nothing.
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
