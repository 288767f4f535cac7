"""What a GPU's driver reports, by a stand-in for it."""

import pytest

from orchestrator.queue.workers import DeviceReading
from tests.faults.harness import wait_until
from tests.stand_in_driver.pynvml import StandInDriver
from worker.devices.driver import DeviceWatch, read_gpu


@pytest.mark.parametrize(
    ("temperature", "use", "reading"),
    [
        (61, 98, DeviceReading(temperature_celsius=61.0, use_percent=98.0)),
        (40, 0, DeviceReading(temperature_celsius=40.0, use_percent=0.0)),
        (61, None, DeviceReading(temperature_celsius=61.0)),
        (None, None, DeviceReading()),
    ],
)
def test_what_the_driver_reports_and_nothing_else(
    driver: StandInDriver, temperature: int | None, use: int | None, reading: DeviceReading
) -> None:
    driver.gpus[1].temperature, driver.gpus[1].use = temperature, use
    assert read_gpu("GPU-bbbb") == reading
    assert driver.users == 0


def test_a_gpu_or_a_driver_that_is_not_there_reports_nothing(driver: StandInDriver) -> None:
    assert read_gpu("GPU-cccc") == DeviceReading()
    driver.installed = False
    assert read_gpu("GPU-aaaa") == DeviceReading()


def test_the_watch_keeps_the_newest_reading(driver: StandInDriver) -> None:
    watch = DeviceWatch("GPU-bbbb", every_seconds=0.01)
    wait_until(lambda: watch.reading().temperature_celsius == 61.0, seconds=120, what="a reading")
    driver.gpus[1].temperature = 56
    wait_until(lambda: watch.reading().temperature_celsius == 56.0, seconds=120, what="the next reading")
    watch.close()


def test_of_a_cpu_there_is_nothing_to_report(driver: StandInDriver) -> None:
    assert DeviceWatch("").reading() == DeviceReading()


def test_memory_in_use_is_reported(driver: StandInDriver) -> None:
    driver.gpus[0].used_bytes = 3 * 2**30
    assert read_gpu("GPU-aaaa") == DeviceReading(temperature_celsius=40.0, use_percent=0.0, memory_bytes=3 * 2**30)
