"""Devices over time, thinned with age, and the hours that sweeps took of them."""

import itertools

import pytest
from sqlalchemy import event

from orchestrator.queue.attempts import Ending
from orchestrator.queue.states import Reason, State
from orchestrator.queue.workers import DeviceHours, DeviceReading
from orchestrator.store import Store
from orchestrator.store.working.devices import LEVELS, PLACES_A_LEVEL, SAMPLE_EVERY_BEATS, place_of
from tests.conftest import VirtualClock
from tests.sample_sweep import register, sample_points, submit_sweep, work
from worker.devices.devices import cpu_device, gpu_device
from worker.devices.driver import Gpu


def test_samples_thin_out_with_age_and_are_bounded() -> None:
    newest = {place_of(number): number for number in range(1, 200_001)}
    ages = [200_000 - number for number in sorted(newest.values(), reverse=True)]
    assert len(ages) == PLACES_A_LEVEL * LEVELS
    for level in range(1, LEVELS):
        window = [age for age in ages if age < PLACES_A_LEVEL * 2**level]
        assert max(after - before for before, after in itertools.pairwise(window)) <= 2 ** (level - 1)
    assert ages[-1] > 100_000


def test_a_beat_keeps_a_sample_now_and_then_in_one_statement(store: Store, clock: VirtualClock) -> None:
    submit_sweep(store, seeds=[1])
    worker = register(store, device="cuda:0")
    work(store, worker, sample_points(2), reason=None)
    statements: list[str] = []
    event.listen(store._engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    costs = []
    for beat in range(7):
        statements.clear()
        clock.advance(10)
        store.beat(worker, DeviceReading(temperature_celsius=60.0 + beat, use_percent=98.0, memory_bytes=2**30))
        costs.append(len(statements))
    assert set(costs) == {min(costs), min(costs) + 1} and costs.count(max(costs)) == 3
    samples = store.device_samples()
    assert [one.reading.temperature_celsius for one in samples] == [60.0, 63.0, 66.0]
    assert samples[1].at - samples[0].at == 10 * SAMPLE_EVERY_BEATS
    assert samples[0].device == "cuda:0" and samples[0].reading.memory_bytes == 2**30
    assert store.device_samples(run_id=1) == samples
    [live] = store.workers()
    assert live.reading.memory_bytes == 2**30
    store.end_worker(worker, "asked to stop")
    assert store.device_samples() == [] and store.device_samples(run_id=1) == samples


def test_a_device_without_a_driver_costs_no_statement(store: Store, clock: VirtualClock) -> None:
    worker = register(store)
    for _ in range(4):
        store.beat(worker)
    assert store.device_samples() == []


def test_hours_are_of_attempts_and_a_slot_has_its_part(store: Store, clock: VirtualClock) -> None:
    first, second = submit_sweep(store, seeds=[1, 2]), submit_sweep(store, [{"depth": 4}], seeds=[1])
    # As workers call them: a name that none has hid that no GPU's hours were counted as such.
    on_gpu = gpu_device(Gpu(index=0, description="a GPU", uuid="GPU-1")).name
    gpu, cpu = register(store, device=on_gpu), register(store, pid=4243, device=cpu_device().name)
    claim = work(store, gpu, sample_points(2), reason=None)
    clock.advance(3600)
    store.finish(claim.lease, Ending(reason=Reason.FINISHED))
    work(store, cpu, sample_points(2), reason=None)
    clock.advance(1800)
    assert store.device_hours([first.id, second.id]) == {first.id: DeviceHours(gpu=1.0, other=0.5)}
    work(store, gpu, sample_points(2), reason=None)
    clock.advance(1800)
    found = store.device_hours([first.id, second.id])
    assert found[first.id] == DeviceHours(gpu=1.0, other=1.0) and found[second.id].gpu == pytest.approx(0.5)
    with store._write() as connection:
        connection.exec_driver_sql("UPDATE attempts SET shared_slots = 2")
    assert store.device_hours([first.id])[first.id] == DeviceHours(gpu=0.5, other=0.5)


def test_a_clock_that_was_set_back_takes_no_hours_away(store: Store, clock: VirtualClock) -> None:
    sweep = submit_sweep(store, seeds=[1, 2, 3])
    worker = register(store)
    for seconds in (3600, -7200):
        claim = work(store, worker, sample_points(2), reason=None)
        clock.advance(seconds)
        store.finish(claim.lease, Ending(reason=Reason.FINISHED))
    work(store, worker, sample_points(2), reason=None)
    clock.advance(-3600)
    assert store.device_hours([sweep.id]) == {sweep.id: DeviceHours(other=1.0)}
    [sample] = store.samples([sweep.id], State.COMPLETED, 10)[sweep.id]
    assert sample.worked_seconds == 3600.0
