"""The dashboard's server: what its addresses answer, over SQLite and PostgreSQL."""

import gzip
import math
import os
import re
import socket
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import urljoin

import pytest

from hlbgpt_core.points import Split
from orchestrator.dashboard.app import COMPRESSION_LEVEL, STATIC
from orchestrator.dashboard.log_tail import MOST_BYTES, read_log_tail
from orchestrator.dashboard.serving.server import known_name
from orchestrator.dashboard.watching import overview_watch
from orchestrator.export.metric_names import parse_metric
from orchestrator.plots.drawing.curve_figures import Drawing
from orchestrator.plots.figures import plot_curves
from orchestrator.queue.attempts import Ending
from orchestrator.queue.states import Reason
from orchestrator.queue.sweeps import NewArm, NewSweep
from orchestrator.store import Store, open_store
from orchestrator.store.opening.engine import OpenMode
from orchestrator.store.opening.location import parse_location
from tests.command_line import hlbq_in
from tests.dashboard_client import ARMS, Client, client, plain
from tests.sample_sweep import received, register, sample_point, sample_points, submit_sweep, work

pytestmark = pytest.mark.reader

__all__ = ["client", "plain"]  # fixtures
EVIL = "<script>alert('x')</script>\"'& 🦊"


def test_pages_come_without_a_token_and_hold_nothing_but_themselves(plain: tuple[Client, Store]) -> None:
    client, _ = plain
    for path in ("/", "/sweeps/1", "/runs/3", "/workers", "/compare"):
        answer = client.http.get(path)
        assert answer.status_code == 200 and "text/html" in answer.headers["content-type"]
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "DENY" and answer.headers["referrer-policy"] == "no-referrer"
    page = answer.text
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", page)  # nothing inline
    for path in ("/nowhere", "/no/where", "/workers/"):
        answer = client.http.get(path)
        assert answer.status_code == 404 and "text/html" in answer.headers["content-type"]
    assert client.http.get("/api/nowhere", headers=client.headers).json() == {"error": "Not Found"}


@pytest.mark.parametrize("path", ["/", "/workers", "/sweeps/1", "/no/such/page"])
def test_every_address_of_a_page_is_relative_for_proxies_that_take_a_prefix_away(
    plain: tuple[Client, Store], path: str
) -> None:
    client, _ = plain
    links = re.findall(r"(?:src|href)=\"([^\"#]+)\"", client.http.get(path).text)
    assert len(links) > 25
    for link in links:
        found = urljoin(f"http://proxy/user/ada{path}", link)
        assert found.startswith("http://proxy/user/ada/"), link
        assert client.http.get(found.removeprefix("http://proxy/user/ada")).status_code == 200, link


def test_answers_are_compressed_where_they_may_be(plain: tuple[Client, Store]) -> None:
    client, _ = plain
    answer = client.http.get("/api/sweeps/1", headers=client.headers)
    assert answer.headers["content-encoding"] == "gzip" and "Accept-Encoding" in answer.headers["vary"]
    assert client.http.get("/static/js/app.js").headers["content-encoding"] == "gzip"
    unpacked = client.http.get("/api/sweeps/1", headers={**client.headers, "accept-encoding": "identity"})
    assert "content-encoding" not in unpacked.headers and unpacked.json()["sweeps"] == answer.json()["sweeps"]


def test_a_first_visit_is_light() -> None:
    files = [path for path in STATIC.rglob("*") if path.is_file() and path.name != "LICENSE"]
    assert sum(len(gzip.compress(path.read_bytes(), COMPRESSION_LEVEL)) for path in files) < 250_000


def test_every_script_sets_text_as_text() -> None:
    for path in (*STATIC.glob("*.js"), *(STATIC / "js").iterdir()):
        words = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", words), path
        assert "http://" not in words and "https://" not in words, path


def test_data_needs_the_token_the_host_and_the_origin(plain: tuple[Client, Store]) -> None:
    client, _ = plain
    headers = client.headers
    assert client.http.get("/api/overview").status_code == 401
    assert client.http.get("/api/overview", headers={**headers, "host": "evil.example"}).status_code == 421
    assert client.http.get("/api/overview", headers={**headers, "origin": "http://evil.example"}).status_code == 403
    assert client.http.get("/static/js/app.js", headers={"host": "evil.example"}).status_code == 421
    assert client.http.post("/api/control", headers=headers, json={}).status_code == 403
    assert client.http.get("/api/control", headers=headers).status_code == 405
    assert client.http.get("/static/../app.py").status_code == 404
    assert client.http.get("/static/%2e%2e/app.py").status_code == 404


def test_an_empty_database_has_an_overview_and_no_sweep(client: Client) -> None:
    assert client.get("overview")["sweeps"] == []
    assert client.get("workers") == {"live": [], "past": [], "past_left_out": 0}
    assert "no sweep 1" in client.get("sweeps/1", status=404)["error"]
    assert "no run 1" in client.get("runs/1", status=404)["error"]


def test_names_come_as_they_are(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS, seeds=[1], name=EVIL)
    work(store, register(store, hostname=EVIL), [], reason=Reason.OOM, error_type=EVIL, error_message=EVIL)
    assert client.get("overview")["sweeps"][0]["name"] == EVIL
    assert client.get("sweeps/1")["sweeps"][0]["name"] == EVIL
    assert client.rows()[1]["error"] == f"{EVIL}: {EVIL}"
    assert client.get("runs/1")["attempts"][0]["error"] == EVIL
    assert client.get("workers")["live"][0]["hostname"] == EVIL


def test_runs_that_other_sweeps_lend_count_on_the_overview_and_the_page(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview_watch, "READING_SECONDS", 60.0)
    sweep = submit_sweep(store, [{"depth": 2}, {"depth": 4}], seeds=[1, 2], with_baseline=True)
    worker = register(store)
    own = sample_point(Split.TRAIN, 5, loss=1.0, extra={"own": 1.0})
    for number in range(4):
        work(store, worker, [*sample_points(6, start=3 + number), own])
    names = NewArm.__dataclass_fields__
    arms = [NewArm(**{name: getattr(arm, name) for name in names}) for arm in store.arms(sweep.id)]
    store.submit(NewSweep(arms=arms, runs=[], members=[1, 2, 3, 4], definition=sweep.definition))
    lent, lender = client.get("overview")["sweeps"]
    assert lent["id"] == 2 and lent["best"] == lender["best"] and lent["best"]["run"] == 1
    assert client.get("sweeps/2")["counts"]["completed"] == 4
    # A metric of one's own, which is not in every point and whose runs are lent.
    assert client.get("sweeps/2/curves?metric=train_own")["curves"]


def test_losses_on_several_data_sets_have_no_best(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview_watch, "READING_SECONDS", 60.0)
    submit_sweep(store, [{"depth": 2}, {"depth": 2, "dataset": "text:/another"}], seeds=[1])
    worker = register(store)
    for _ in range(2):
        work(store, worker, sample_points(6))
    assert client.get("overview")["sweeps"][0]["best"] is None


def test_a_seed_that_a_double_would_round_is_text(client: Client, store: Store) -> None:
    submit_sweep(store, [{"depth": 2}], seeds=[2**53 + 1, 7])
    assert [row["seed"] for row in client.rows().values()] == [str(2**53 + 1), 7]
    assert client.get("runs/1")["seed"] == str(2**53 + 1)


@pytest.mark.parametrize("page", ["/runs/", "/api/runs/", "/sweeps/"])
def test_an_address_without_end_is_no_page(client: Client, page: str) -> None:
    assert client.http.get(page + "1" * 5000).status_code == 404


def test_a_sweep_tells_its_runs_and_what_sets_its_arms_apart(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS, seeds=[100, 101], name="demo")
    worker = register(store)
    work(store, worker, sample_points(6))
    work(store, worker, sample_points(4), reason=Reason.DIVERGED, error_message="nan")
    work(store, worker, [sample_point(Split.VAL, 1, loss=math.nan)], reason=None)
    whole = client.get("sweeps/1")
    assert whole["settings"] == ["depth", "num_heads"] and len(whole["arms"]) == 4
    assert whole["arms"][3]["label"] == "depth 4, num_heads 2" and whole["arms"][3]["values"] == [4, 2]
    assert whole["common"]["width"] == "128" and "depth" not in whole["common"]
    assert whole["counts"] == {"pending": 5, "running": 1, "completed": 1, "failed": 1, "cancelled": 0}
    rows = client.rows()
    assert (rows[1]["state"], rows[1]["fraction"], rows[1]["val_loss"]) == ("completed", 1.0, sample_points(6)[-1].loss)
    assert (rows[2]["state"], rows[2]["reason"], rows[2]["error"]) == ("failed", "diverged", "nan")
    assert rows[3]["val_loss"] == "nan" and rows[3]["tokens_per_second"] == 1234.0
    assert rows[8]["state"] == "pending" and rows[8]["step"] == 0


def test_curves_are_means_over_seeds_and_follow_running_runs(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS[:1], seeds=[100, 101])
    worker = register(store)
    work(store, worker, sample_points(8, start=5.0))
    claim = work(store, worker, sample_points(4, start=6.0), reason=None)
    client.rows()
    answer = client.get("sweeps/1/curves?metric=val_loss&x=steps")
    (curve,) = answer["curves"]
    assert (answer["left"], answer["started"], curve["seeds"]) == (0, 2, 2)
    assert curve["x"] == [10, 30, 50, 70] and curve["runs"] == [2, 2, 1, 1]
    first, second = ([p.loss for p in sample_points(8, start=s) if p.split is Split.VAL] for s in (5.0, 6.0))
    assert curve["mean"][0] == pytest.approx((first[0] + second[0]) / 2, rel=1e-5)
    assert curve["low"][0] == pytest.approx(first[0], rel=1e-5) and curve["low"][3] is None
    since = answer["version"]
    assert client.get(f"sweeps/1/curves?metric=val_loss&x=steps&since={since}")["curves"] == []
    assert client.get("sweeps/1/curves?metric=val_loss&x=flops")["curves"][0]["runs"] == [2, 2, 1, 1]
    store.flush(claim.lease, points=sample_points(8, start=6.0))
    (curve,) = client.get(f"sweeps/1/curves?metric=val_loss&x=steps&since={since}")["curves"]
    assert curve["runs"] == [2, 2, 2, 2]
    seconds = client.get("sweeps/1/curves?metric=train_loss&x=seconds")["curves"][0]
    assert seconds["x"][:2] == [0.25, 2.5]
    # A running run is read in parts; its operations add up as in one that is read at once.
    flops = client.get("sweeps/1/curves?metric=val_loss&x=flops")["curves"][0]["x"]
    assert flops == client.get("runs/1/curves?x=flops")["metrics"]["loss"]["val"]["x"] and flops[-1] > flops[0] > 1e6


def test_runs_that_diverged_or_have_no_value_are_named_where_they_ended(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS[:3], seeds=[100])
    worker = register(store)
    nan = sample_point(Split.VAL, 40, loss=math.nan)
    work(store, worker, [*sample_points(4), nan], reason=Reason.DIVERGED)
    work(store, worker, [], reason=Reason.ERROR, permanent=True)
    work(store, worker, sample_points(4))
    curves = client.get("sweeps/1/curves?metric=val_loss")["curves"]
    last = [point for point in sample_points(4) if point.split is Split.VAL][-1]
    assert [curve["lost"] for curve in curves] == [
        [[1, 100, True, last.step, pytest.approx(last.loss, rel=1e-5)]],
        [[2, 100, False, None, None]],
        [],
    ]
    assert curves[1]["x"] == []
    # Its training loss is finite to the end, and yet it diverged.
    assert client.get("sweeps/1/curves?metric=grad_norm")["curves"][0]["lost"][0][:3] == [1, 100, True]


def test_of_many_lines_the_best_are_drawn(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS, seeds=[100])
    worker = register(store)
    for start in (5.0, 7.0, 4.0, 6.0):
        work(store, worker, sample_points(4, start=start))
    arms = [arm["id"] for arm in client.get("sweeps/1")["arms"]]
    answer = client.get("sweeps/1/curves?metric=val_loss&best=2")
    assert answer["lines"] == [arms[0], arms[2]] and answer["lines_asked"] == 4
    assert client.get("sweeps/1/curves?metric=val_loss&best=0")["lines"] == arms
    assert client.get("sweeps/1/curves?metric=val_loss&best=1000")["lines"] == arms


def test_arms_that_share_a_setting_are_one_line(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS, seeds=[100])
    worker = register(store)
    for start in (5.0, 7.0, 4.0, 6.0):
        work(store, worker, sample_points(4, start=start))
    arms = [arm["id"] for arm in client.get("sweeps/1")["arms"]]
    answer = client.get("sweeps/1/curves?metric=val_loss&by=depth")
    losses = [[p.loss for p in sample_points(4, start=s) if p.split is Split.VAL] for s in (5.0, 7.0, 4.0, 6.0)]
    assert [(curve["line"], curve["seeds"]) for curve in answer["curves"]] == [(arms[0], 2), (arms[2], 2)]
    assert answer["curves"][0]["mean"][0] == pytest.approx((losses[0][0] + losses[1][0]) / 2, rel=1e-5)
    narrowed = client.get(f"sweeps/1/curves?metric=val_loss&by=depth&arms={arms[0]},{arms[2]},{arms[3]}")
    assert [curve["seeds"] for curve in narrowed["curves"]] == [1, 2]
    seeds = client.get("sweeps/1/seeds?metric=val_loss&by=depth")["curves"]
    assert {seed["run"]: seed["line"] for seed in seeds} == {1: arms[0], 2: arms[0], 3: arms[2], 4: arms[2]}


def test_single_seeds_are_thinned_and_say_so(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS[:2], seeds=[100])
    worker = register(store)
    many = [sample_point(Split.TRAIN, step, loss=5 / step) for step in range(1, 1001)]
    work(store, worker, [*many, sample_point(Split.TRAIN, 1001, loss=math.nan)], reason=Reason.DIVERGED)
    work(store, worker, sample_points(4))
    answer = client.get("sweeps/1/seeds?metric=train_loss")
    first, second = answer["curves"]
    assert first["places"] == 1000 and 100 < len(first["x"]) <= 300
    assert first["x"][0] == 1 and first["x"][-1] == 1000
    assert second["places"] == 4
    assert client.get(f"sweeps/1/seeds?metric=train_loss&arms={second['line']}")["curves"] == [second]


def test_own_metrics_are_offered_drawn_and_have_newest_values(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS[:1], seeds=[100, 101])
    worker = register(store)
    points = [sample_point(Split.VAL, step, loss=1.0, extra={"top5": step / 10}) for step in (1, 2, 3)]
    work(store, worker, points)
    work(store, worker, [sample_point(Split.VAL, 1, loss=1.0, extra={"top5": math.inf})])
    assert "val_top5" in client.get("sweeps/1")["metrics"]
    assert client.get("sweeps/1/curves?metric=val_top5")["curves"][0]["mean"] == [0.1, 0.2, 0.3]
    assert client.get("sweeps/1/finals?metric=val_top5")["values"] == [[1, 0.3], [2, "inf"]]
    assert client.get("sweeps/1/finals?metric=val_acc")["values"] == [[1, 0.3], [2, 0.3]]
    assert client.get("runs/1/curves")["metrics"]["top5"]["val"]["y"] == [0.1, 0.2, 0.3]


def test_a_column_has_the_last_best_least_or_greatest_value_or_that_at_a_step(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS[:1], seeds=[100, 101])
    worker = register(store)
    losses = (4.0, 2.0, math.nan, 3.0)
    work(store, worker, [sample_point(Split.VAL, 10 * at, loss=loss) for at, loss in enumerate(losses, start=1)])
    work(store, worker, [])
    asked = "sweeps/1/finals?metric=val_loss&moment="
    for moment, value in (("last", 3.0), ("best", 2.0), ("min", 2.0), ("max", 4.0), ("at&step=15", 3.0)):
        assert client.get(asked + moment)["values"] == [[1, value]], moment
    assert client.get("sweeps/1/finals?metric=val_acc&moment=best")["values"] == [[1, 0.3]]
    assert client.get(f"{asked}at&step=25")["values"] == [[1, None]]  # beside a nan
    assert client.get(f"{asked}at&step=50")["values"] == []
    assert "max or min" in client.get("sweeps/1/finals?metric=grad_norm&moment=best", status=400)["hint"]
    assert client.get(f"{asked}never", status=400)["error"] == "there is no moment 'never'"


def test_commands_to_type_name_the_database_that_is_shown(client: Client, store: Store, location: str) -> None:
    option = parse_location(location).option
    submit_sweep(store, [{"depth": 2}, {"depth": 4}], seeds=[1, 2, 3], with_baseline=True)
    worker = register(store)
    for number in range(6):
        work(store, worker, sample_points(4, start=5 + number % 2 + number / 100))
    assert client.get("about")["option"] == option
    assert client.get("runs/1")["repeat"].startswith(f"hlbq submit{option} --depth 2")
    assert client.get("sweeps/9", status=404)["hint"] == f"See what there is: hlbq status{option} --all"
    assert f"next: hlbq extend 1 --num_runs 5{option}" in client.get("sweeps/1/comparison")["sentences"]


def test_a_run_has_all_its_metrics_its_story_and_its_command(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS, seeds=[100], name="demo")
    worker = register(store)
    ending = {"error_type": "Boom", "error_message": "it broke", "error_traceback": "Traceback ..."}
    work(store, worker, sample_points(4), reason=Reason.DIVERGED, **ending)
    run = client.get("runs/1")
    assert (run["state"], run["reason"], run["sweep_name"]) == ("failed", "diverged", "demo")
    assert run["changed"]["width"] == "128" and "width" not in run["settings"]
    assert run["facts"]["device"] == "cpu" and "--depth 2" in run["repeat"]
    assert run["attempts"][0]["traceback"] == "Traceback ..." and run["attempts"][0]["error"] == "it broke"
    assert [event["action"] for event in run["events"]] == ["fail", "claim"]
    metrics = client.get("runs/1/curves?x=tokens")["metrics"]
    assert metrics["loss"]["train"]["x"] == [1000, 10000, 20000, 30000]
    assert set(metrics["loss"]) == {"train", "val"} and set(metrics["lr"]) == {"train"}
    assert client.get("runs/1/curves?x=parsecs", status=400)["hint"].startswith("There are steps")


def test_runs_side_by_side_show_what_differs(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS, seeds=[100, 101])
    worker = register(store)
    work(store, worker, sample_points(4))
    work(store, worker, [])
    found = client.get("compare?runs=1,2,6")
    assert [run["id"] for run in found["runs"]] == [1, 2, 6] and found["runs"][0]["state"] == "completed"
    rows = {row[0]: row[1:] for row in found["rows"]}
    assert rows["num_heads"] == ["1", "2", "2"] and rows["seed"] == ["100", "100", "101"] and "depth" not in rows
    assert "sweep" not in rows and found["diffs"] == []
    run = client.get("runs/2")
    assert (run["before"], run["after"], [one[0] for one in run["sisters"]]) == (1, 3, [2, 6])
    assert client.get("runs/1")["before"] is None
    for runs in ("", "1", "1,1", "1,2,3,4,5,6,7,8,9", "x,y"):
        assert "side by side" in client.get(f"compare?runs={runs}", status=400)["error"], runs
    assert client.get("compare?runs=1", status=400)["error"] == "1 run cannot be shown side by side"
    assert client.get("compare?runs=1,999", status=404)["error"]
    assert client.http.get("/api/compare?runs=1,2").status_code == 401


def test_workers_live_and_past(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS)
    live, past = register(store, device="cuda:0"), register(store, device="cuda:1")
    claim = store.claim(live)
    assert claim is not None
    store.end_worker(past, "the queue is empty")
    found = client.get("workers")
    assert [(one["id"], one["run"], one["silent"]) for one in found["live"]] == [(live, claim.run.id, True)]
    assert [(one["id"], one["why"]) for one in found["past"]] == [(past, "the queue is empty")]


def test_the_comparison_is_that_of_the_command(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS, seeds=[1, 2, 3])
    worker = register(store)
    for number in range(12):
        work(store, worker, sample_points(12, start=5 + (number % 4) / 10 + number / 1000))
    found = client.get("sweeps/1/comparison?metric=val_loss&baseline=depth%3D2")
    assert [table["headers"][-1] for table in found["tables"]] == ["verdict", "95 % interval"]
    assert any("depth 4 against depth 2" in text for text in found["sentences"])
    assert store.looks(1) == []  # the page only reads
    assert "no run has that" in client.get("sweeps/1/comparison?baseline=depth%3D9", status=400)["error"]


@pytest.mark.parametrize(
    "path",
    [
        *("curves?metric=val_los", "curves?x=miles", "curves?since=x", "curves?since=--1", "finals?metric=nothing"),
        *("curves?smooth=1", "curves?smooth=x", "curves?smooth=nan", "curves?by=nothing"),
    ],
)
def test_wrong_questions_are_answered_in_words(plain: tuple[Client, Store], path: str) -> None:
    client, _ = plain
    assert client.get(f"sweeps/1/{path}", status=400)["error"]


def test_numbers_that_no_row_can_have_are_not_there(client: Client) -> None:
    for path in ("sweeps/{}", "sweeps/{}/curves", "runs/{}", "runs/{}/curves", "runs/{}/log"):
        for number in (2**31, 2**63, 10**40):
            assert client.get(path.format(number), status=404)["error"], path
    assert "since" in client.get("stream/overview?since=x", status=400)["error"]


def test_the_log_is_its_end_and_never_leaves_the_folder(tmp_path: Path, store: Store) -> None:
    submit_sweep(store, ARMS)
    claim = work(store, register(store), [])
    (attempt,) = store.attempts(claim.run.id)
    state = tmp_path / "state"
    log = state / attempt.log_path
    assert read_log_tail((), str(state), attempt).problem.startswith("the log is not on this machine")
    log.parent.mkdir(parents=True)
    log.write_text("first\n" + "line\n" * (MOST_BYTES // 5) + "last\n")
    tail = read_log_tail((), str(state), attempt)
    assert tail.text.endswith("last\n") and tail.text.startswith("line") and tail.left_out > 0
    (tmp_path / "secret").write_text("secret")
    for evil in ("../secret", str(tmp_path / "secret"), "", "logs/../../secret"):
        assert "no log within" in read_log_tail((), str(state), replace(attempt, log_path=evil)).problem
    (state / "link").symlink_to(tmp_path / "secret")
    assert "no log within" in read_log_tail((), str(state), replace(attempt, log_path="link")).problem
    assert "--state_dir" in read_log_tail((), None, attempt).problem


def test_without_the_extra_one_line_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in [name for name in sys.modules if name.startswith(("starlette", "orchestrator.dashboard"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = hlbq_in(tmp_path, monkeypatch, capsys)("dashboard")
    assert done.code == 2 and done.out == ""
    assert done.err.count("\n") == 1 and "pip install 'hlbq[dashboard]'" in done.err


def test_a_missing_database_and_a_taken_port_are_told_before_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hlbq = hlbq_in(tmp_path, monkeypatch, capsys)
    missing = hlbq("dashboard --db nowhere.db")
    assert missing.code == 2 and "nowhere.db" in missing.err and not os.path.exists("nowhere.db")  # noqa: PTH110
    with open_store(str(tmp_path / "hlbq.db"), mode=OpenMode.CREATE):
        pass
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused = hlbq(f"dashboard --db hlbq.db --port {taken.getsockname()[1]}")
    assert refused.code == 2 and "--port" in refused.err and "#token" not in refused.out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--host ''", "--host is empty"),  # to the kernel that means every address of the machine
        ("--host []", "--host is empty"),
        ("--host nowhere.invalid", "--host nowhere.invalid is not an address of this machine"),
        ("--host 192.0.2.1", "--host 192.0.2.1 is not an address of this machine"),
        ("--allow_host http://box:80", "--allow_host http://box:80 is not a host name"),
        ("--allow_host '*'", "--allow_host * is not a host name"),
    ],
)
def test_addresses_that_are_none_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: str, says: str
) -> None:
    with open_store(str(tmp_path / "hlbq.db"), mode=OpenMode.CREATE):
        pass
    done = hlbq_in(tmp_path, monkeypatch, capsys)(f"dashboard --db hlbq.db {options}")
    assert done.code == 2 and says in done.err and done.out == ""
    assert not (tmp_path / "hlbq.db.state").exists(), "a token that nobody can use"


def test_names_are_known_as_browsers_send_them() -> None:
    assert [known_name(text) for text in ("MyBox", "mybox:8765", "[::2]", "a.b-c")] == [
        "mybox",
        "mybox",
        "::2",
        "a.b-c",
    ]


def test_a_test_loss_is_on_the_page_of_its_run_and_among_the_metrics(client: Client, store: Store) -> None:
    submit_sweep(store, [{"test_tokens": 2048}, {"test_tokens": 2048, "depth": 3}], seeds=[1])
    worker = register(store)
    for _ in range(2):
        work(store, worker, [*sample_points(4), sample_point(Split.TEST, 30, loss=2.5)])
    sweep = client.get("sweeps/1")
    assert "test_loss" in sweep["metrics"] and sweep["mixed_evaluations"] == {}
    assert client.get("sweeps/1/finals?metric=test_loss")["values"] == [[1, 2.5], [2, 2.5]]
    assert client.get("runs/1")["test_loss"] == 2.5
    assert client.get("runs/1/curves")["metrics"]["loss"]["test"]["y"] == [2.5]


def test_arms_of_different_evaluations_are_said_to_be_so_and_not_compared(client: Client, store: Store) -> None:
    submit_sweep(store, [{"num_eval_tokens": 2048}, {"num_eval_tokens": 8192, "test_tokens": 2048}], seeds=[1])
    worker = register(store)
    for _ in range(2):
        work(store, worker, sample_points(4))
    mixed = client.get("sweeps/1")["mixed_evaluations"]
    assert mixed == {"val": "num_eval_tokens 2048, 8192; test_tokens 0, 2048"}
    assert "different evaluations" in client.get("sweeps/1/comparison", status=400)["error"]
    assert "test_loss" not in client.get("runs/1/curves")["metrics"]


def test_curves_stand_over_the_wall_clock_since_the_first_claim(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS[:1], seeds=[100, 101, 102])
    worker = register(store)
    for start in (5.0, 6.0):
        claim = work(store, worker, [], reason=None)
        assert claim.run.started_at is not None
        points = received(sample_points(4, start=start), began=claim.run.started_at)
        store.finish(claim.lease, Ending(reason=Reason.FINISHED), points=points)
    work(store, worker, sample_points(4))  # by a version that kept no times
    assert "wall_clock" in client.get("about")["axes"]
    answer = client.get("sweeps/1/curves?metric=val_loss&x=wall_clock")
    (curve,) = answer["curves"]
    assert (curve["x"], curve["runs"]) == (pytest.approx([7.0, 17.0], rel=1e-4), [2, 2])
    assert (curve["lost"], answer["without_clock"]) == ([], [3])
    of_run = client.get("runs/1/curves?x=wall_clock")
    assert of_run["metrics"]["loss"]["train"]["x"] == pytest.approx([2.5, 7.0, 12.0, 17.0], rel=1e-4)
    assert of_run["without_clock"] == 0 and client.get("runs/3/curves?x=wall_clock")["without_clock"] == 6
    assert client.get("runs/3/curves?x=steps")["without_clock"] == 0


def test_a_metric_over_another_is_the_mean_of_both_at_each_step(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS[:1], seeds=[100, 101])
    worker = register(store)
    work(store, worker, sample_points(8, start=5.0))
    claim = work(store, worker, sample_points(4, start=6.0), reason=None)
    client.rows()
    asked = "sweeps/1/curves?metric=val_loss&x=train_loss"
    (curve,) = client.get(asked)["curves"]

    def at(split: Split) -> list[float]:
        own = ([p.loss for p in sample_points(8, start=start) if p.split is split] for start in (5.0, 6.0))
        first, second = (losses[1::2] if split is Split.TRAIN else losses for losses in own)
        return [(first[0] + second[0]) / 2, (first[1] + second[1]) / 2, first[2], first[3]]

    # Training loss falls, so the last step stands first.
    by_x = sorted(zip(at(Split.TRAIN), at(Split.VAL), strict=True))
    assert curve["x"] == pytest.approx([x for x, _ in by_x], rel=1e-5)
    assert curve["mean"] == pytest.approx([y for _, y in by_x], rel=1e-5)
    assert sorted(curve["runs"]) == [1, 1, 2, 2] and curve["low"] == [None] * 4
    (line,) = plot_curves(store, Drawing(x=parse_metric("train_loss"))).figure.axes[0].get_lines()
    assert line.get_xydata().tolist() == [pytest.approx(dot, rel=1e-5) for dot in by_x]
    store.flush(claim.lease, points=sample_points(8, start=6.0))
    (curve,) = client.get(asked)["curves"]
    assert curve["runs"] == [2, 2, 2, 2]
    seeds = client.get("sweeps/1/seeds?metric=val_loss&x=train_loss")["curves"]
    assert seeds[0]["x"] == sorted(seeds[0]["x"]) and len(seeds[0]["x"]) == 4
    # The rate is the same for all seeds, and rises: the curve is that over steps.
    over_rate, over_steps = (client.get(f"sweeps/1/curves?metric=val_loss&x={x}")["curves"][0] for x in ("lr", "steps"))
    assert over_rate["mean"] == over_steps["mean"] and over_rate["x"] == [0.001 * step for step in over_steps["x"]]
