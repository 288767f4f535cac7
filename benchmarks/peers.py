"""The programs that benchmarks compare with, in a separate environment: the extra `bench` of pyproject.toml.

Some of them need other versions of shared libraries than constraints.txt pins, so they are never installed in `.venv`.
`make .venv-peers/.installed` installs them beside it; $HLBQ_PEERS names another Python that has them. Missing peers are
reported as missing.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
MISSING = "missing"


def peers_python() -> Path:
    """The interpreter that has the peers."""
    return Path(os.environ.get("HLBQ_PEERS") or ROOT / ".venv-peers" / "bin" / "python")


def ask_peer(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What `benchmarks.MODULE` prints as its last line, run by the peers' Python; {"missing": why} without it."""
    python = peers_python()
    if not python.exists():
        return {MISSING: "not installed: make .venv-peers/.installed"}
    command = [str(python), "-m", f"benchmarks.{module}", *arguments]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, cwd=ROOT, env={**kept, **(environment or {})}, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr[-1500:], file=sys.stderr)
        return {MISSING: done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
