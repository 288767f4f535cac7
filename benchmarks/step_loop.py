"""A loop of steps that logs, and the cost of that. Uses only the standard library: our Python and the peers' both run
it."""

import statistics
import time
from collections.abc import Callable, Mapping

STEP_SECONDS = 0.02
METRICS = 10


def metrics_of(step: int) -> dict[str, float]:
    """Ten numbers that change."""
    return {f"metric_{number}": 1.0 / (step + number) for number in range(METRICS)}


def measure(log: Callable[[int], object], finish: Callable[[], float | None], steps: int) -> Mapping[str, float]:
    """Microseconds a step: the time that `log` holds up the loop, its thread's CPU time there, and all CPU time,
    including helpers'.

    The step itself sleeps, so background logging has time to run. `finish` ends the logging and counts as CPU time, not
    as waiting; it returns the CPU seconds of helper processes.
    """
    waited, used = [], []
    before = time.process_time()
    for step in range(1, steps + 1):
        next_at = time.perf_counter() + STEP_SECONDS
        start, begun = time.perf_counter(), time.thread_time()
        log(step)
        used.append(time.thread_time() - begun)
        waited.append(time.perf_counter() - start)
        time.sleep(max(0.0, next_at - time.perf_counter()))
    cpu_seconds = (finish() or 0.0) + time.process_time() - before
    return {
        "wait_us_median": 1e6 * statistics.median(waited),
        "thread_cpu_us_median": 1e6 * statistics.median(used),
        "wait_us_mean": 1e6 * statistics.fmean(waited),
        "cpu_us": 1e6 * cpu_seconds / steps,
    }
