"""Processes of ours whose standard streams are closed, full or gone go on, and print into no other file."""

import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import os, subprocess, sys
from orchestrator.files.standard_streams import open_closed_streams, unfailing_text
open_closed_streams()
sys.stdout, sys.stderr = unfailing_text(1), unfailing_text(2)
with open(sys.argv[1], "w") as file:
    assert file.fileno() > 2
    print("out"); print("error", file=sys.stderr); sys.stdin.read()
    child = subprocess.run([sys.executable, "-c", "import os; [os.fstat(n) for n in range(3)]"], close_fds=True)
    file.write(f"child {child.returncode}")
"""


@pytest.mark.parametrize(
    "streams",
    ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1", "2>&1 >/dev/full | true"],
)
def test_nothing_fails_for_a_stream(tmp_path: Path, streams: str) -> None:
    file = tmp_path / "file"
    script = f'"{sys.executable}" -c "$1" "$2" {streams}; '
    script += 'exit "${PIPESTATUS[0]}"' if "|" in streams else 'exit "$?"'
    done = subprocess.run(["bash", "-c", script, "bash", CHILD, str(file)], stdin=subprocess.DEVNULL, timeout=240)
    assert done.returncode == 0
    assert file.read_text() == "child 0"
