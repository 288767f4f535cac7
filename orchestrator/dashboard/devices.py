"""Devices over time, as pages draw them."""

import itertools
from collections.abc import Sequence
from typing import Any

from orchestrator.queue.records import DeviceSample
from orchestrator.store import Store
from orchestrator.store.known import known_run

MOST_SAMPLES = 1_000


def devices_over_time(store: Store, run_id: int | None = None) -> dict[str, Any]:
    """The devices of live workers, or those of a run while it trained: use, temperature and memory by time.

    Raises NotThereError if the run does not exist."""
    samples = store.device_samples(run_id=None if run_id is None else known_run(store, run_id).id)
    by_device = itertools.groupby(samples, key=lambda one: (one.hostname, one.device, one.device_name))
    return {"devices": [_words(f"{host}, {device} ({name})", list(own)) for (host, device, name), own in by_device]}


def _words(title: str, samples: Sequence[DeviceSample]) -> dict[str, Any]:
    apart = -(-len(samples) // MOST_SAMPLES)
    kept = samples[::-1][::apart][::-1]  # the newest is among them
    readings = [one.reading for one in kept]
    memory = [None if one.memory_bytes is None else round(one.memory_bytes / 2**30, 3) for one in readings]
    return {
        "title": title,
        "at": [round(one.at, 1) for one in kept],
        "use (%)": [one.use_percent for one in readings],
        "temperature (°C)": [one.temperature_celsius for one in readings],
        "memory (GiB)": memory,
    }
