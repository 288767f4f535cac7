"""What a GPU's driver tells, by a stand-in for its tool."""

from pathlib import Path

import pytest

from orchestrator.queue.records import DeviceReading
from tests.faults.harness import wait_until
from worker.devices.device_watch import DeviceWatch, ask_driver


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The driver's tool, yet without a word."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    made = tmp_path / "nvidia-smi"
    made.write_text("#!/bin/sh\n")
    made.chmod(0o755)
    return made


@pytest.mark.parametrize(
    ("says", "reading"),
    [
        ("echo '61, 98'", DeviceReading(temperature_celsius=61.0, use_percent=98.0)),
        ("echo '61, [N/A]'", DeviceReading(temperature_celsius=61.0)),
        ("echo 'No devices were found'; exit 6", DeviceReading()),
        ("echo", DeviceReading()),
        ("test $1 = --id=GPU-1 && echo '40, 0'", DeviceReading(temperature_celsius=40.0, use_percent=0.0)),
    ],
)
def test_what_the_driver_tells_and_nothing_else(tool: Path, says: str, reading: DeviceReading) -> None:
    tool.write_text(f"#!/bin/sh\n{says}\n")
    assert ask_driver("GPU-1") == reading


def test_the_watch_keeps_the_newest_reading(tool: Path) -> None:
    tool.write_text("#!/bin/sh\necho '55, 10'\n")
    watch = DeviceWatch("GPU-1", every_seconds=0.01)
    wait_until(lambda: watch.reading().temperature_celsius == 55.0, seconds=10, what="a reading")
    tool.with_suffix(".new").write_text("#!/bin/sh\necho '56, 10'\n")
    tool.with_suffix(".new").chmod(0o755)
    tool.with_suffix(".new").rename(tool)
    wait_until(lambda: watch.reading().temperature_celsius == 56.0, seconds=10, what="the next reading")
    watch.close()


def test_of_a_cpu_there_is_nothing_to_tell(tool: Path) -> None:
    assert DeviceWatch("").reading() == DeviceReading()
