"""A crew passes signals on, starts what died anew, gives up in the end, and tells by its exit code how it went.

Its workers are shell one-liners here.
"""

import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.faults.harness import wait_until
from worker.pool import Place, RestartPolicy, WorkerPool, exit_code_of

HASTY = RestartPolicy(first_wait_seconds=0.01, longest_wait_seconds=0.02, most_restarts=3)


def crew_of(*scripts: str, said: list[str] | None = None, policy: RestartPolicy = HASTY) -> WorkerPool:
    heard = [] if said is None else said
    places = [Place(name=f"gpu{n}", argv=["/bin/sh", "-c", script]) for n, script in enumerate(scripts)]
    return WorkerPool(places=places, say=heard.append, policy=policy)


@pytest.mark.parametrize(
    ("scripts", "code"),
    [
        (["exit 0", "exit 0"], 0),
        (["exit 0", "exit 1"], 1),
        (["exit 1", "exit 2", "exit 0"], 2),
        (["exit 0", "exit 130"], 130),
    ],
)
def test_it_ends_when_all_have_ended_and_its_code_is_the_worst(scripts: list[str], code: int) -> None:
    assert crew_of(*scripts).run() == code


def test_a_worker_that_died_is_started_anew(tmp_path: Path) -> None:
    said: list[str] = []
    mark = tmp_path / "mark"
    script = f"if [ -e {mark} ]; then exit 0; fi; touch {mark}; kill -9 $$"
    assert crew_of(script, "exit 0", said=said).run() == 0
    assert any("gpu0 died (SIGKILL); restarting it in 0.01 s" in line for line in said)


def test_a_worker_with_a_fault_of_its_own_is_started_anew_and_given_up_in_the_end(tmp_path: Path) -> None:
    said: list[str] = []
    count = tmp_path / "count"
    assert crew_of(f"echo >> {count}; exit 70", "exit 0", said=said).run() == 1
    assert len(count.read_text().splitlines()) == 1 + HASTY.most_restarts
    assert any("gpu0 died 4 times in a row (now exit code 70)" in line and "hlbq doctor" in line for line in said)


def test_waits_double_to_a_limit() -> None:
    policy = RestartPolicy(first_wait_seconds=1, longest_wait_seconds=5, most_restarts=4)
    assert [policy.wait_seconds(deaths) for deaths in range(1, 6)] == [1, 2, 4, 5, None]


def test_a_long_life_begins_a_new_row(tmp_path: Path) -> None:
    """With every life taken for a long one, deaths never add up; the fourth life ends well."""
    said: list[str] = []
    policy = RestartPolicy(first_wait_seconds=0.01, most_restarts=1, healthy_seconds=0.0)
    lives = tmp_path / "lives"
    crew = crew_of(f"echo >> {lives}; [ $(wc -l < {lives}) = 4 ] || exit 70", said=said, policy=policy)
    assert crew.run() == 0
    assert sum("restarting it in 0.01 s" in line for line in said) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_signals_are_passed_on_each_time(tmp_path: Path, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    heard = [tmp_path / "0", tmp_path / "1"]
    # The first signal is noted, the second ends the worker.
    script = (
        "n=0; trap 'n=$((n+1)); echo $n >> {0}; [ $n = 2 ] && exit 130' {1}; "
        "echo up >> {0}; while :; do sleep 0.02; done"
    )
    crew = crew_of(*(script.format(path, name) for path in heard))

    def lines(path: Path) -> list[str]:
        return path.read_text().split() if path.exists() else []

    def send() -> None:
        wait_until(lambda: all(lines(path) == ["up"] for path in heard), seconds=120, what="both are up")
        os.kill(os.getpid(), number)
        wait_until(lambda: all(lines(path) == ["up", "1"] for path in heard), seconds=120, what="both heard it")
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    assert crew.run() == 130
    sender.join()
    assert [lines(path) for path in heard] == [["up", "1", "2"]] * 2


def test_a_signal_reaches_a_worker_that_is_just_being_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    up, heard, begin = tmp_path / "up", tmp_path / "heard", subprocess.Popen

    def popen(*given: Any, **named: Any) -> Any:
        process = begin(*given, **named)
        wait_until(up.exists, seconds=120, what="the worker is up")
        signal.raise_signal(signal.SIGUSR1)
        return process

    monkeypatch.setattr(subprocess, "Popen", popen)
    crew = crew_of(f"trap 'touch {heard}; exit 130' USR1; touch {up}; while :; do sleep 0.02; done")
    assert crew.run() == 130 and heard.exists()


def test_a_signal_between_a_death_and_the_restart_ends_the_wait(tmp_path: Path) -> None:
    said: list[str] = []
    crew = crew_of("kill -9 $$", said=said, policy=RestartPolicy(first_wait_seconds=1000))

    def send() -> None:
        wait_until(lambda: any("restarting it" in line for line in said), seconds=120, what="the death is noted")
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    assert crew.run() == 130
    sender.join()


def test_handlers_are_put_back() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in numbers]
    crew_of("exit 0").run()
    assert [signal.getsignal(number) for number in numbers] == before


def test_after_a_signal_the_code_is_130_whatever_the_workers_said() -> None:
    assert exit_code_of([0, 1], interrupted=True) == 130
