"""The page of a sweep: what it says, that it loads nothing, and that no name in it can do anything."""

import math
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hlbgpt_core.points import Split
from orchestrator.cli.main import run_program
from orchestrator.errors import ExportError, UsageError
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason
from orchestrator.report.contents import read_report
from orchestrator.report.page import page
from orchestrator.store import OpenMode, Store, open_store
from tests.sample_sweep import register, sample_point, sample_points, submit_sweep, work

pytestmark = pytest.mark.reader

ARMS = [{"depth": depth, "num_heads": heads} for depth in (2, 4) for heads in (1, 2)]
EVIL = "<script>alert('x')</script>\"'&"
VOID = {"meta", "br", "img", "link"}


class Page(HTMLParser):
    """The page's tags with their attributes, its headings, and whether every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self._open and self._open[-1] in ("h1", "h2"):
            self.headings.append(data)


@pytest.fixture
def quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not written as pictures, which is most of what a page costs: for tests of its words."""
    monkeypatch.setattr("orchestrator.report.contents._svg", lambda figure: "<svg></svg>")


def fill(store: Store, name: str = "heads") -> None:
    """Four arms of three seeds."""
    submit_sweep(store, ARMS, seeds=[1, 2, 3], name=name)
    worker = register(store)
    for number in range(12):
        work(store, worker, sample_points(12, start=5 + (number % 4) / 10 + number / 1000))


def test_a_page_holds_figures_tables_verdicts_settings_and_provenance(store: Store) -> None:
    fill(store)
    with store._write() as connection:
        connection.exec_driver_sql("UPDATE attempts SET ended_at = started_at + 3600")
    found = Page(page(read_report(store, 1, baseline={"num_heads": 1})))
    assert found.headings == ["heads", "Comparison", "Figures", "Runs", "Settings", "Provenance"]
    text = " ".join(found.text)
    assert "sweep 1, 4 arms, 12 runs: 12 completed" in text
    assert "12.0 device-hours" in text
    assert "depth 2, num_heads 2 against depth 2, num_heads 1: worse" in text or "undecided" in text
    captions = [attributes["aria-label"] for tag, attributes in found.tags if tag == "svg"]
    assert captions == [
        "difference in last val_loss (12 runs)",
        "val_loss over training tokens (12 runs)",
        "last val_loss against depth (12 runs)",
        "last val_loss against num_heads (12 runs)",
        "last val_loss over depth and num_heads (12 runs)",
        "training loss (12 runs)",
        "schedules (12 runs)",
    ]
    assert "data_fingerprint" in text and "f00d" in text and "expand_factor" in text


def test_nothing_is_loaded_and_nothing_runs_and_the_same_sweep_gives_the_same_page(store: Store) -> None:
    fill(store)
    text = page(read_report(store, 1))
    assert page(read_report(store, 1)) == text
    found = Page(text)
    assert {tag for tag, _ in found.tags} & {"script", "link", "iframe", "object", "embed", "img", "form"} == set()
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("href", "src", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
    outside = set(re.findall(r"https?://[^\"'<> ]*", text))
    # Names of vocabularies, which are never fetched.
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, outside
    assert "url(" not in text.replace("url(#", "") and "@import" not in text
    identities = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(identities) == len(set(identities))
    used = set(re.findall(r"(?:xlink:href=\"|url\()#([^\")]+)", text))
    assert used and used <= set(identities)


def test_many_arms_are_counted_first_and_no_picture_is_needed(store: Store) -> None:
    submit_sweep(store, [{"lr_mult": place / 10} for place in range(1, 21)], seeds=[1, 2, 3])
    worker = register(store)
    for number in range(60):
        work(store, worker, sample_points(4, start=5 + number % 7 / 100))
    found = Page(text := page(read_report(store, 1, baseline={"lr_mult": 1.0})))
    assert any(re.match(r"19 arms against lr_mult 1: \d+ undecided, \d+ identical\.", text) for text in found.text)
    assert sum(tag == "li" for tag, _ in found.tags) == 19
    # The policy of the page forbids images, data: ones too, and browsers complain of each.
    assert "<image" not in text and "data:" not in text
    assert any(attributes.get("class") == "wide" for tag, attributes in found.tags if tag == "figure")


@pytest.mark.usefixtures("quick_figures")
def test_main_effects_of_many_arms_are_told(store: Store) -> None:
    arms = [{"depth": depth, "num_heads": heads} for depth in (2, 4, 8, 16) for heads in (1, 2, 4, 8)]
    submit_sweep(store, arms, seeds=[1, 2])
    worker = register(store)
    for _ in range(32):
        work(store, worker, sample_points(4))
    effects = " ".join(Page(page(read_report(store, 1, baseline={"depth": 2}))).text)
    assert "depth 4 against depth 2: identical in all 2 pairs" in effects


def test_figures_of_many_arms_show_some_of_them_and_say_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store)
    monkeypatch.setattr("orchestrator.report.contents.MOST_ARMS_DRAWN", 2)
    found = Page(page(read_report(store, 1)))
    assert any(text.startswith("Figures show 2 of the 4 arms, chosen at random.") for text in found.text)
    captions = [str(attributes["aria-label"]) for tag, attributes in found.tags if tag == "svg"]
    assert len(captions) > 3 and all("(6 runs)" in caption for caption in captions if "difference" not in caption)
    assert "sweep 1, 4 arms, 12 runs: 12 completed" in found.text


def test_what_runs_newest_attempts_record_is_read_once(store: Store) -> None:
    submit_sweep(store, seeds=[1, 2, 3])
    worker = register(store)
    for _ in (1, 2):
        work(store, worker, sample_points(2))
    [found] = store.provenances([run.id for run in store.runs(RunFilter())])
    assert (found.runs, found.shared_slots) == (2, 1)
    assert found.provenance == store.attempts(1)[-1].provenance


def test_names_are_text_and_never_markup(store: Store) -> None:
    fill(store, name=EVIL)
    text = page(read_report(store, 1))
    assert "<script" not in text
    assert Page(text).headings[0] == EVIL


def test_what_can_not_be_shown_is_said_in_its_place(store: Store) -> None:
    submit_sweep(store, seeds=[1])
    empty = " ".join(Page(page(read_report(store, 1))).text)
    assert "No figure of val_loss over training tokens: no run has points of 'val_loss' yet." in empty
    assert "Not compared" in empty and "1 pending" in empty

    worker = register(store)
    work(store, worker, [sample_point(Split.VAL, 1, loss=math.nan)], reason=Reason.DIVERGED)
    diverged = " ".join(Page(page(read_report(store, 1))).text)
    assert "nan or infinite at every point of 1 run" in diverged

    submit_sweep(store, seeds=[1])
    work(store, worker, sample_points(6))
    alone = " ".join(Page(page(read_report(store, 2))).text)
    assert "one seed only, so no deviation and no interval" in alone


def test_a_metric_of_one_s_own_is_reported(store: Store) -> None:
    submit_sweep(store, seeds=[1, 2])
    worker = register(store)
    for seed in (1, 2):
        own = [sample_point(Split.VAL, step, loss=4.0, extra={"accuracy_at_5": 0.1 * seed}) for step in (10, 20)]
        work(store, worker, own)
    text = " ".join(Page(page(read_report(store, 1, metric="val_accuracy_at_5"))).text)
    assert "last val_accuracy_at_5 over seeds" in text and "0.15" in text
    with pytest.raises(ExportError, match="no metric 'val_acuracy_at_5'"):
        read_report(store, 1, metric="val_acuracy_at_5")
    with pytest.raises(UsageError, match="there is no sweep 7"):
        read_report(store, 7)


@pytest.mark.usefixtures("quick_figures")
def test_verdicts_of_a_page_are_a_look_as_those_of_compare_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store("hlbq.db", mode=OpenMode.CREATE) as store:
        fill(store)

    def looks() -> list[str]:
        with open_store("hlbq.db", mode=OpenMode.READ) as store:
            return [event.why for event in store.looks(1)]

    assert run_program(["report", "1", "page.html"]) == 0
    first = looks()
    against = "against depth 2, num_heads 1, main effects: depth 4 "
    assert len(first) == 1 and first[0].startswith(f"last val_loss by depth, num_heads {against}")
    # The sweep's own baseline, also where it is named.
    assert run_program(["report", "1", "page.html", "--baseline", "num_heads=1"]) == 0 and looks() == first
    words = " ".join(Page((tmp_path / "page.html").read_text(encoding="utf-8")).text)
    assert "look 1 at this question, recorded with the sweep;" in words
    # The same numbers seen by the other command are the same look.
    assert run_program(["compare", "--baseline", "num_heads=1"]) == 0
    assert "look 1 at this question, recorded with the sweep;" in capsys.readouterr().out and looks() == first

    Path("hlbq.db").chmod(0o400)
    assert run_program(["report", "1", "page.html", "--baseline", "num_heads=1", "--metric", "val_acc"]) == 0
    assert "this look was not recorded" in capsys.readouterr().err and looks() == first
    words = " ".join(Page((tmp_path / "page.html").read_text(encoding="utf-8")).text)
    assert "look 1 at this question;" in words


@pytest.mark.usefixtures("quick_figures")
def test_two_data_sets_are_compared_only_when_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store("hlbq.db", mode=OpenMode.CREATE) as store:
        submit_sweep(store, [{}, {"dataset": "wikitext-103"}], seeds=[1, 2])
        worker = register(store)
        for _ in range(4):
            work(store, worker, sample_points(4))
    line = ["report", "1", "page.html", "--baseline", "dataset=pystdlib"]
    assert run_program(line) == 0
    said = capsys.readouterr().err
    assert said.startswith("warning: not compared: the runs were trained on different data: pystdlib, wikitext-103")
    assert "--allow_mixed_data" in said
    assert run_program([*line, "--allow_mixed_data"]) == 0
    assert capsys.readouterr().err == "wrote page.html\n"
    words = " ".join(Page((tmp_path / "page.html").read_text(encoding="utf-8")).text)
    assert "dataset wikitext-103 against dataset pystdlib: identical" in words and "No figure" not in words


@pytest.mark.usefixtures("quick_figures")
def test_the_command_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store("hlbq.db", mode=OpenMode.CREATE) as store:
        fill(store)
    assert run_program(["report", "1", "page.html", "--baseline", "num_heads=1"]) == 0
    assert capsys.readouterr().err == "wrote page.html\n"
    assert Page((tmp_path / "page.html").read_text(encoding="utf-8")).headings[0] == "heads"
    assert run_program(["report", "1", "page.html", "--baseline", "num_heads=9"]) == 0
    assert "warning: not compared: --baseline num_heads=9: no run has that" in capsys.readouterr().err
    for line, said in (
        ("report 9", "there is no sweep 9"),
        ("report 1 --metric val_los", "Did you mean 'val_loss'?"),
        ("report 1 page.pdf", "a report is an HTML page\nFor instance: page.html"),
        ("report 1 -", "a report is an HTML page\nFor instance: report.html"),
        ("report 1 .", "is a folder"),
        ("report 1 missing/page.html", "there is no folder"),
    ):
        assert run_program(shlex.split(line)) == 2, line
        assert said in capsys.readouterr().err


@pytest.mark.usefixtures("quick_figures")
def test_a_report_holds_test_losses_and_refuses_different_evaluations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store("hlbq.db", mode=OpenMode.CREATE) as store:
        arms = [{"num_eval_tokens": number, "test_tokens": 2048} for number in (2048, 8192)]
        submit_sweep(store, arms, seeds=[1, 2])
        worker = register(store)
        for _ in range(4):
            work(store, worker, [*sample_points(4), sample_point(Split.TEST, 30, loss=2.125)])
    line = ["report", "1", "page.html", "--baseline", "num_eval_tokens=2048"]
    assert run_program(line) == 0
    said = capsys.readouterr().err
    assert "not compared: 'val_loss' of different evaluations" in said and "--allow_mixed_evaluation" in said
    text = Page((tmp_path / "page.html").read_text(encoding="utf-8")).text
    assert "test loss" in text and text.count("2.1250") == 4
    assert run_program([*line, "--allow_mixed_evaluation"]) == 0
    assert "not compared" not in capsys.readouterr().err
