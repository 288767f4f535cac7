"""A parent of slots on the CPU whose workers have stand-ins for trainers: for tests that hurt parent and workers."""

import argparse
import os
import sys

from worker.pool import Place, RestartPolicy, WorkerPool


def main() -> int:
    """Lead as many slots as asked; what follows `--` are the options of tests.faults.worker_under_fault."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--slots", type=int, required=True)
    given, options = parser.parse_known_args()
    command = [sys.executable, "-m", "tests.faults.worker_under_fault", *options, "--slots", str(given.slots)]
    places = [
        Place(name=f"slot {slot}", argv=[*command, "--slot", str(slot), "--with-parent", str(os.getpid())])
        for slot in range(given.slots)
    ]
    crew = WorkerPool(
        places=places,
        policy=RestartPolicy(first_wait_seconds=0.1),
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    return crew.run()


if __name__ == "__main__":
    sys.exit(main())
