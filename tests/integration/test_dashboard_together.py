"""Several sweeps on one page: their arms and runs, curves by any grouping, comparison, and what to know of them."""

from dataclasses import replace

import pytest

from orchestrator.dashboard.watching import sweep_watch
from orchestrator.plots.figures import plot_curves
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.store import Store
from tests.dashboard_client import Client, client
from tests.faults.harness import wait_until
from tests.integration.test_dashboard_live import changes
from tests.sample_sweep import register, sample_facts, sample_points, submit_sweep, work

__all__ = ["client"]  # a fixture

TOGETHER = "sweeps/1,2"


def two_sweeps(store: Store) -> int:
    """A sweep of depths 2 and 4, and one of depths 2 and 8, three seeds each; all are trained."""
    submit_sweep(store, [{"depth": 2}, {"depth": 4}], seeds=[1, 2, 3], name="first")
    submit_sweep(store, [{"depth": 2}, {"depth": 8}], seeds=[4, 5, 6], name="second")
    worker = register(store)
    for number in range(12):
        work(store, worker, sample_points(4, start=5 + (number % 2) + number / 1000))
    return worker


def test_arms_belong_to_their_sweep_which_is_like_a_setting(client: Client, store: Store) -> None:
    two_sweeps(store)
    whole = client.get(TOGETHER)
    assert [sweep["name"] for sweep in whole["sweeps"]] == ["first", "second"]
    assert whole["settings"] == ["sweep", "depth"] and len(whole["rows"]) == 12 and whole["counts"]["completed"] == 12
    labels = [arm["label"] for arm in whole["arms"]]
    assert labels == ["sweep 1, depth 2", "sweep 1, depth 4", "sweep 2, depth 2", "sweep 2, depth 8"]
    assert whole["cautions"] == [] and "sweep" not in whole["common"]
    alone = client.get("sweeps/1")
    assert alone["settings"] == ["depth"] and len(alone["rows"]) == 6


def test_lines_join_what_several_sweeps_share(client: Client, store: Store) -> None:
    two_sweeps(store)

    def seeds(by: str, x: str = "steps") -> list[int]:
        found = client.get(f"{TOGETHER}/curves?by={by}&x={x}")
        assert found["left"] == 0
        return [curve["seeds"] for curve in found["curves"]]

    assert seeds("") == [3, 3, 3, 3] and seeds("settings") == [6, 3, 3]
    assert seeds("sweep") == [6, 6] and seeds("depth", "flops") == [6, 3, 3]
    assert len(client.get(f"{TOGETHER}/finals?metric=train_loss")["values"]) == 12
    assert len(client.get(f"{TOGETHER}/finals?metric=val_loss&moment=min")["values"]) == 12
    assert client.get(f"{TOGETHER}/seeds")["runs_asked"] == 12


def test_a_seed_of_an_arm_counts_once_however_many_sweeps_have_it(client: Client, store: Store) -> None:
    """As in a figure: a band over repeated runs is too narrow."""
    worker = register(store)
    for start in (5.0, 4.0):
        submit_sweep(store, [{"depth": 2}], seeds=[1, 2])
        for noise in (0.0, 0.1):
            work(store, worker, sample_points(4, start=start + noise))
    found = client.get(f"{TOGETHER}/curves?by=settings")
    drawn = plot_curves(store, runs=RunFilter(sweep_ids=(1, 2)))
    assert found["repeated"] == 2 and [curve["seeds"] for curve in found["curves"]] == [2]
    last = drawn.figure.axes[0].get_lines()[0].get_ydata()[-1]
    assert drawn.runs == 2 and found["curves"][0]["mean"][-1] == pytest.approx(last, rel=1e-4)
    assert client.get(f"{TOGETHER}/curves")["repeated"] == 0  # a line each

    submit_sweep(store, [{"depth": 2}], seeds=[1])
    assert client.get("sweeps/1,2,3/curves?by=settings")["repeated"] == 2
    work(store, worker, sample_points(4, start=3.0))  # it takes the place of an earlier one
    client.feed.pages.refresh({"sweep/1,2,3"})
    asked = "sweeps/1,2,3/curves?by=settings"
    wait_until(lambda: client.get(asked)["repeated"] == 3, seconds=120, what="the newest is taken")
    assert client.get(asked)["curves"][0]["mean"][-1] < found["curves"][0]["mean"][-1]


def test_they_are_compared_by_any_grouping(client: Client, store: Store) -> None:
    two_sweeps(store)
    (groups,) = client.get(f"{TOGETHER}/comparison?by=depth")["tables"]
    assert groups["headers"][0] == "depth" and [row[0] for row in groups["rows"]] == ["2", "4", "8"]
    groups, _ = client.get(f"{TOGETHER}/comparison?by=sweep&baseline=sweep%3D1")["tables"]
    assert groups["headers"][0] == "sweep" and [row[0] for row in groups["rows"]] == ["1", "2"]
    client.get(f"{TOGETHER}/comparison?by=colour", status=400)


def test_a_change_in_either_comes_and_controls_reach_both(client: Client, store: Store) -> None:
    two_sweeps(store)
    worker = register(store)
    submit_sweep(store, [{"depth": 2}], seeds=[7, 8], name="third")
    whole = client.get("sweeps/1,3")
    client.feed.pages.refresh({"sweep/1,3"})
    work(store, worker, sample_points(2))
    kind, told = changes(client.feed.pages.refresh({"sweep/1,3"}), "sweep/1,3")
    assert kind == "changes" and [row[0] for row in told["rows"]] == [13] and told["version"] > whole["version"]
    assert client.post("control", {"action": "cancel", "sweeps": [1, 3]}) == {"changed": 1}
    assert changes(client.feed.pages.refresh({"sweep/1,3"}), "sweep/1,3")[1]["counts"]["cancelled"] == 1


def test_other_data_and_evaluations_are_said(client: Client, store: Store) -> None:
    two_sweeps(store)
    submit_sweep(store, [{"depth": 2, "tokenizer": "gpt2"}], seeds=[1])
    submit_sweep(store, [{"depth": 2}], seeds=[1])
    worker = register(store)
    work(store, worker, sample_points(2))
    claim = store.claim(worker)
    assert claim is not None
    facts = replace(sample_facts(), data_fingerprint="beef")
    store.flush(claim.lease, points=sample_points(2), facts=facts)
    [tokens] = client.get("sweeps/1,3")["cautions"]
    assert "can't be compared across tokenizers: bytes, gpt2" in tokens
    [data] = client.get("sweeps/1,4")["cautions"]
    assert "trained on 2 versions of their data" in data


def test_an_open_page_hears_that_data_differ(client: Client, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AGAIN_SECONDS", "TIMES_ITS_COST"):
        monkeypatch.setattr(sweep_watch, name, 0.0)
    for seed in (1, 2):
        submit_sweep(store, [{"depth": 2}], seeds=[seed])
    worker, topics = register(store), {"sweep/1,2"}
    assert client.get(TOGETHER)["cautions"] == []
    work(store, worker, sample_points(2))
    claim = store.claim(worker)
    assert claim is not None
    assert changes(client.feed.pages.refresh(topics), "sweep/1,2")[0] == "changes"
    store.flush(claim.lease, points=sample_points(2), facts=replace(sample_facts(), data_fingerprint="beef"))
    assert changes(client.feed.pages.refresh(topics), "sweep/1,2")[0] == "reload"
    assert "trained on 2 versions of their data" in client.get(TOGETHER)["cautions"][0]
    assert client.feed.pages.refresh(topics) == {}


def test_what_names_no_sweeps_is_not_there(client: Client, store: Store) -> None:
    two_sweeps(store)
    for numbers in ("1,9", "1,", "x", ",", "1,2,x", ",".join(map(str, range(1, 22))), f"1,{2**63}"):
        client.get(f"sweeps/{numbers}", status=404)
        client.get(f"sweeps/{numbers}/curves", status=404)
    assert client.get("sweeps/2,2,1")["sweeps"][0]["id"] == 2
    assert client.http.get("/sweeps/1,2").status_code == 200 and client.http.get("/sweeps/x").status_code == 404
    assert store.counts(RunFilter())[State.COMPLETED] == 12
