"""On the PYTHONPATH of a worker: the steps of growing sweeps that it starts may be killed, as $STEP_FAULTS says.

A JSON object: `kill` gives the probability by point (step.before, step.inside, step.after), `landed` a file for
notes.
"""

import os
import sys

if "STEP_FAULTS" in os.environ and sys.orig_argv[-1] == "decide":
    import json
    import random
    import signal

    from sqlalchemy import Connection, event

    from orchestrator.queue.sweeps import PolicyStep
    from orchestrator.store import Store
    from tests.faults.worker_under_fault import note_landed

    faults = json.loads(os.environ["STEP_FAULTS"])
    take_step = Store.take_step

    def perhaps(point: str) -> None:
        """End this process here, by chance."""
        if random.random() < faults["kill"].get(point, 0.0):
            note_landed(faults["landed"], point)
            os.kill(os.getpid(), signal.SIGKILL)

    def inside(connection: Connection) -> None:
        """Called before each commit."""
        if connection.get_execution_options().get("hlbq_writes"):
            perhaps("step.inside")

    def step_under_fault(store: Store, step: PolicyStep, actor: str) -> int | None:
        """The step, which may be the last thing that this process does."""
        if not event.contains(store._engine, "commit", inside):
            event.listen(store._engine, "commit", inside)
        perhaps("step.before")
        added = take_step(store, step, actor)
        perhaps("step.after")
        return added

    Store.take_step = step_under_fault  # type: ignore[method-assign]
