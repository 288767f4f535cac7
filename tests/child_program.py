"""A program in a child process, so that nothing of what it makes up reaches the other tests."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def run_child(program: str, *arguments: str, folder: Path, **environment: str) -> str:
    """What a Python `program` prints, which knows these sources and `environment` alone; it must end well."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=folder,
        env={"PATH": "", "PYTHONPATH": str(ROOT), **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def answer_of_child(program: str, *, folder: Path, **environment: str) -> dict[str, Any]:
    """The JSON object in the last line that a Python `program` prints."""
    return dict(json.loads(run_child(program, folder=folder, **environment).splitlines()[-1]))
