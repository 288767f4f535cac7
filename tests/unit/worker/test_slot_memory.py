"""How many slots a device gets: by what was measured, else by an estimate from the settings."""

from pathlib import Path

import pytest

from hlbgpt_core.scale import check, resolve
from hlbgpt_core.settings import Settings
from orchestrator.queue.workers import ArmMemory
from worker.devices.devices import Gpu, cpu_device, gpu_device
from worker.devices.slot_memory import estimate_bytes, free_machine_bytes, plan_slots

GPU = gpu_device(Gpu(index=0, description="H100", uuid="GPU-aaaa"))


def arm(measured_gb: float = 0.0, **settings: object) -> ArmMemory:
    resolved = resolve(Settings.from_dict(settings))
    return ArmMemory(
        settings=resolved.to_dict(), num_params=check(resolved).num_params, measured_bytes=int(measured_gb * 1e9)
    )


def test_the_default_run_is_made_for_a_card_of_40_gb() -> None:
    default = resolve(Settings())
    need = estimate_bytes(default, check(default).num_params, on_gpu=True)
    assert 40e9 < need < 42e9
    assert estimate_bytes(default, 0, on_gpu=False) > 1.9 * estimate_bytes(default, 0, on_gpu=True)


def test_what_fits_is_started_without_a_word() -> None:
    assert plan_slots(2, [arm()], int(85e9), GPU) == (2, "")
    assert plan_slots(1, [arm()], 0, GPU) == (1, "")


def test_what_does_not_fit_is_reduced_with_the_reason_and_the_ways_out() -> None:
    slots, note = plan_slots(3, [arm(gpu_capacity_scalar=0.1), arm()], int(85e9), GPU)
    assert slots == 2
    for words in ("2 instead of 3 slots on gpu0", "41.3 GB (estimated from its settings)", "85.0 GB are free"):
        assert words in note
    assert "--gpu_capacity_scalar" in note and "--no-memory-check" in note


def test_what_was_measured_counts_more_than_an_estimate() -> None:
    assert plan_slots(3, [arm(measured_gb=20)], int(85e9), GPU)[0] == 3
    slots, note = plan_slots(3, [arm(measured_gb=50, gpu_capacity_scalar=0.1)], int(85e9), GPU)
    assert slots == 1 and "55.6 GB (measured)" in note


@pytest.mark.parametrize(("arms", "free"), [([], int(1e9)), ([arm()], None)])
def test_where_nothing_is_known_all_are_started_and_it_says_so(arms: list[ArmMemory], free: int | None) -> None:
    slots, note = plan_slots(3, arms, free, cpu_device())
    assert slots == 3 and "unchecked" in note


def machine(root: Path, group: dict[str, str]) -> Path:
    (root / "proc").mkdir()
    (root / "proc/meminfo").write_text("MemTotal: 100 kB\nMemAvailable:  2048 kB\n")
    for name, text in group.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("group", "free"),
    [
        ({}, 2048 * 1024),
        ({"memory.max": "max\n", "memory.current": "5\n"}, 2048 * 1024),
        ({"memory.max": "5000\n", "memory.current": "2000\n"}, 3000),
        ({"memory/memory.limit_in_bytes": "9000\n", "memory/memory.usage_in_bytes": "8000\n"}, 1000),
    ],
)
def test_free_memory_of_the_machine_is_capped_by_its_control_group(
    tmp_path: Path, group: dict[str, str], free: int
) -> None:
    assert free_machine_bytes(machine(tmp_path, group)) == free


def test_a_machine_that_does_not_say() -> None:
    assert free_machine_bytes(Path("/nowhere")) is None
