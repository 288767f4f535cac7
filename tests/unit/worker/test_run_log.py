"""A log that cannot be written harms no run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker.trainer.run_log import open_log

PRINTS = """
import os, sys
from pathlib import Path
from worker.trainer.run_log import log_to
log_to(Path(sys.argv[1]))
print("a word")
print("another", file=sys.stderr)
os.write(1, b"from C\\n") if len(sys.argv) < 3 else None
"""


def printed_to(log: Path, *more: str) -> int:
    return subprocess.run([sys.executable, "-c", PRINTS, str(log), *more], cwd=Path(__file__).parents[3]).returncode


def test_all_that_is_printed_goes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "1.log"
    assert printed_to(log) == 0
    assert sorted(log.read_text().splitlines()) == ["a word", "another", "from C"]
    assert [oct(path.stat().st_mode & 0o777) for path in (log, log.parent)] == [oct(0o600), oct(0o700)]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")  # noqa: PTH110
def test_a_full_disk_takes_the_log_and_not_the_run(tmp_path: Path) -> None:
    (tmp_path / "1.log").symlink_to("/dev/full")
    assert printed_to(tmp_path / "1.log", "no C") == 0


def test_a_folder_that_cannot_be_made_takes_the_log_and_not_the_run(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file stands there")
    descriptor = open_log(tmp_path / "logs" / "1.log")
    os.write(descriptor, b"gone")
    os.close(descriptor)
    assert (tmp_path / "logs").read_text() == "a file stands there"
