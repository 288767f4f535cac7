"""`python -P -m worker.trainer`: the trainer process. Loads the core, and tells the supervisor where that fails."""

import argparse
import json
import os
import sys

from orchestrator.files.standard_streams import open_closed_streams, unfailing_text
from worker.processes import die_with_parent, leave_signals_to_the_supervisor
from worker.trainer.blame import load_failure


def main() -> int:
    """Serve one supervisor, or leave with the reason for which nobody can be served."""
    parser = argparse.ArgumentParser(prog="worker.trainer", allow_abbrev=False)
    parser.add_argument("--read-fd", type=int, required=True)
    parser.add_argument("--write-fd", type=int, required=True)
    parser.add_argument("--parent-pid", type=int, required=True)
    parser.add_argument("--device", required=True)
    given, options = parser.parse_known_args()
    die_with_parent(given.parent_pid)
    leave_signals_to_the_supervisor()
    try:
        from worker import trainer_process
    except Exception as error:
        # Not by worker/trainer/messages.py, which needs the core.
        message = {"kind": "LoadFailed", "pid": os.getpid(), **load_failure(error)}
        with os.fdopen(given.write_fd, "wb") as pipe:
            pipe.write(json.dumps(message).encode() + b"\n")
        return 1
    return trainer_process.serve(given.read_fd, given.write_fd, given.device, options)


if __name__ == "__main__":
    open_closed_streams()
    sys.stdout, sys.stderr = unfailing_text(1), unfailing_text(2)
    sys.exit(main())
