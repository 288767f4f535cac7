"""SIGKILL around the steps of growing sweeps: of workers whose run has just ended, and of the steps that they start.

Each step must be taken once, whoever dies: every sweep reaches the verdicts that follow from its runs' losses, no run
is there twice, and workers leave once nothing can be added.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from orchestrator.comparison.judging.policy import Closure, ClosureReason, DecidePolicy, PolicyState
from orchestrator.comparison.measuring.measures import Goal
from orchestrator.growth import decide
from orchestrator.growth.steps import Results
from orchestrator.queue.sweeps import DECIDE, NewPolicy, NewRun, NewSweep
from orchestrator.store import OpenMode, Store, open_store
from tests.faults.harness import (
    ROOT,
    Fleet,
    Ground,
    ask,
    children,
    judged,
    new_sweep,
    read_ledger,
    scaled,
    submit,
    wait_until,
)
from tests.faults.report import FaultRow
from tests.faults.worker_under_fault import Faults
from tests.stand_in_trainer import Plan, point_at, shift_of
from worker.processes import kill_exactly, start_ticks

KILLS, WORKERS = 200, 3
WORKER_POINTS = {"finish.before": 0.02, "finish.inside": 0.02, "finish.after": 0.1}
STEP_POINTS = {"step.before": 0.1, "step.inside": 0.1, "step.after": 0.1}
# A baseline, an arm that is surely worse, one that is equal, and one that is better by two deviations.
PLAN = Plan(steps=4, shifts={"0.5": 0.0, "0.51": 0.3, "0.52": 0.0, "0.53": -0.1})
PAUSE_SECONDS = 1.0
Said = dict[str, tuple[ClosureReason, int]]
Found = tuple[Sequence[str], Mapping[str, int]]  # what is broken, and counts


def run(scale: float, ground: Ground) -> list[FaultRow]:
    """On both databases."""
    wanted, fault = scaled(KILLS, scale, least=4), "killed around a step of a growing sweep"
    return [
        storm(fault, wanted, one, ground.seed, more=growing_sweep, plan=PLAN, kill=WORKER_POINTS, check=_lost)
        for one in ground.databases("growth")
    ]


def growing_sweep(first_seed: int, **settings: object) -> NewSweep:
    """Four arms, the first of which is the baseline, with the first seeds of a policy of at most ten."""
    sweep = new_sweep(12, arms=4, **settings)
    runs = [NewRun(arm=run.arm, run_num=run.run_num, seed=run.seed - 100 + first_seed) for run in sweep.runs]
    baseline, *arms = [arm.key for arm in sweep.arms]
    policy = DecidePolicy(metric="val_loss", goal=Goal.LOWER, arms=arms, baselines=[baseline] * 3, max_seeds=10)
    declared = NewPolicy(kind=DECIDE, definition=asdict(policy))
    return replace(sweep, runs=runs, policy=declared, definition={"seed": first_seed})


def said_of(closures: "list[Closure] | tuple[Closure, ...]") -> Said:
    """What was said of each arm, after how many seeds."""
    return {closure.arm: (closure.reason, closure.seeds) for closure in closures}


def said(store: Store, sweep_id: int) -> Said:
    """What a sweep's policy has said; nothing while it is open."""
    record = store.policy(sweep_id)
    return {} if record is None or record.ended_at is None else said_of(tuple(PolicyState.of(record).closures))


def expected(sweep: NewSweep) -> Said:
    """What must be said of the arms of a growing sweep that stand-ins train by PLAN: a step that sees every seed."""
    import numpy

    assert sweep.policy is not None
    policy = DecidePolicy(**sweep.policy.definition)
    lr_mults = {arm.key: float(arm.settings["lr_mult"]) for arm in sweep.arms}
    seeds = [sweep.definition["seed"] + place for place in range(policy.max_seeds)]
    values = [
        [point_at(seed, PLAN.steps, shift=shift_of(PLAN, lr_mults[key], seed)).loss for seed in seeds]
        for key in policy.everyone
    ]
    ended = numpy.ones((len(values), len(seeds)), bool)
    results = Results(values=numpy.array(values), ended=ended, diverged=~ended, stops=[None] * len(ended))
    return said_of(tuple(decide.next_step(policy, results, PolicyState()).state.closures))


def twice(store: Store) -> list[str]:
    """What was done twice: runs by arm and seed, and closings of arms."""
    runs = ask(store, "SELECT count(*) FROM (SELECT 1 FROM runs GROUP BY arm_id, seed HAVING count(*) > 1) AS twice")
    closings = ask(
        store,
        "SELECT count(*) FROM (SELECT 1 FROM events WHERE action = 'decide' GROUP BY sweep_id, why "
        "HAVING count(*) > 1) AS twice",
    )
    found = {"runs": runs, "closings of arms": closings}
    return [f"{number} {what} twice" for what, number in found.items() if number]


def step_faults(fleet: Fleet, kill: dict[str, float]) -> dict[str, str]:
    """Variables by which the steps that a fleet's workers start are killed by chance."""
    return {
        "PYTHONPATH": f"{ROOT / 'tests' / 'faults' / 'step_site'}:{ROOT}",
        "STEP_FAULTS": json.dumps({"kill": kill, "landed": str(fleet.landed_path)}),
    }


def _lost(store: Store, sweeps: Sequence[NewSweep]) -> Found:
    """The sweeps whose policy has not said what it must."""
    lost = [
        f"sweep {at}: {said(store, at)}" for at, sweep in enumerate(sweeps, 1) if said(store, at) != expected(sweep)
    ]
    return lost, {"growing sweeps": len(sweeps), "steps lost": len(lost)}


def storm(
    fault: str,
    wanted: int,
    ground: tuple[str, str, Path],
    seed: int,
    *,
    more: Callable[[int], NewSweep],
    plan: Plan,
    kill: Mapping[str, float],
    check: Callable[[Store, Sequence[NewSweep]], Found],
) -> FaultRow:
    """Kill workers and the steps that they start while sweeps grow, one after another by `more`, then let them end;
    `check` says what is broken then, and counts."""
    kind, db, folder = ground
    began, sweeps = time.monotonic(), [more(1000 * (seed + 1))]
    submit(db, sweeps[0])
    with (
        Fleet(db=db, folder=folder, workers=WORKERS, plan=plan, faults=Faults(kill=dict(kill))) as fleet,
        open_store(db, mode=OpenMode.WRITE) as store,
    ):
        fleet.environment = step_faults(fleet, STEP_POINTS)
        landed = _hurt(fleet, store, sweeps, wanted, random.Random(1000 * seed + wanted), more=more)
        fleet.stop()
        fleet.faults, fleet.environment = Faults(), {}
        fleet.processes = [fleet.start_one(watch=False) for _ in range(WORKERS)]
        wait_until(lambda: fleet.dead() == WORKERS, seconds=600, what="workers leave once every policy has ended")
        broken, counts = check(store, sweeps)
        ledger = read_ledger(db, None)
        steps = sum(record.version for record in store.policies())
        return judged(
            fault,
            kind,
            ledger,
            fleet,
            began,
            landed=sum(landed.values()),
            broken=[*broken, *twice(store)],
            counts={
                **counts,
                "steps": steps,
                "runs": ledger.runs,
                **{f"at {point}": count for point, count in sorted(landed.items())},
            },
        )


def _hurt(
    fleet: Fleet,
    store: Store,
    sweeps: list[NewSweep],
    wanted: int,
    dice: random.Random,
    *,
    more: Callable[[int], NewSweep],
) -> Counter[str]:
    """Kill until `wanted` have landed, with sweeps that grow for all; returns how often, by point."""
    at_random: Counter[str] = Counter()
    next_at = time.monotonic() + PAUSE_SECONDS
    patience = time.monotonic() + 300 + 15.0 * wanted
    while len(fleet.landed()) + at_random.total() < wanted:
        fleet.keep_up()
        if not store.waiting():
            sweeps.append(more(sweeps[-1].definition["seed"] + 50))
            store.submit(sweeps[-1])
        if time.monotonic() >= next_at:
            at_random += _kill_at_a_step(fleet, dice)
            next_at = time.monotonic() + dice.uniform(0.5, 1.5) * PAUSE_SECONDS
        if time.monotonic() > patience:
            raise AssertionError(f"only {len(fleet.landed())} of {wanted} kills landed; {fleet.log()[-2000:]}")
        time.sleep(0.02)
    return Counter(fleet.landed()) + at_random


def _kill_at_a_step(fleet: Fleet, dice: random.Random) -> Counter[str]:
    """SIGKILL a worker that has a step under way, or the step; nothing where none has."""
    at_work = [
        (process.pid, child) for process in fleet.processes for child in children(process.pid) if _is_step(child)
    ]
    if not at_work:
        return Counter()
    worker, step = dice.choice(at_work)
    what, pid = dice.choice([("worker", worker), ("step", step)])
    return Counter({f"random, {what}": 1}) if kill_exactly(pid, start_ticks(pid)) else Counter()


def _is_step(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").endswith(b"\0decide")
    return False
