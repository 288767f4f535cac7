"""What a page says when its database or its server goes away, and that it comes back by itself."""

from pathlib import Path

from playwright.sync_api import expect

from orchestrator.store import OpenMode, open_store
from tests.browser.conftest import OpenTab, serving
from tests.sample_sweep import register, sample_points, submit_sweep, work


def make(path: Path, name: str) -> None:
    """A database with one sweep."""
    with open_store(str(path), mode=OpenMode.CREATE) as store:
        submit_sweep(store, [{"depth": 2}, {"depth": 4}], seeds=[1, 2], name=name)
        work(store, register(store), sample_points(4))


def test_a_database_that_disappears_is_told_on_every_page_and_comes_back(tmp_path: Path, open_tab: OpenTab) -> None:
    db = tmp_path / "hlbq.db"
    make(db, "before")
    with serving(db) as served:
        pages = []
        for path in ("/sweeps/1", "/runs/1", "/", "/workers"):
            tab = open_tab(served)
            tab.expected = ("503",)
            pages.append(tab.visit(path))
            expect(pages[-1].locator("#live")).to_have_text("live")
        db.rename(tmp_path / "away.db")
        for page in pages:
            expect(page.locator("#banner")).to_contain_text("is gone")
        (tmp_path / "away.db").rename(db)
        for page in pages:
            expect(page.locator("#banner")).to_be_hidden()


def test_another_database_in_its_place_ends_the_server(tmp_path: Path, open_tab: OpenTab) -> None:
    db = tmp_path / "hlbq.db"
    make(db, "before")
    make(tmp_path / "other.db", "after")
    with serving(db) as served:
        tab = open_tab(served)
        tab.expected = ("503", "ERR_")
        page = tab.visit("/")
        expect(page.locator(".sweeps")).to_contain_text("before")
        for ending in ("", "-wal", "-shm"):
            (tmp_path / f"hlbq.db{ending}").unlink(missing_ok=True)
        expect(page.locator("#banner")).to_contain_text("is gone")
        (tmp_path / "other.db").rename(db)
        expect(page.locator("#banner")).to_contain_text("does not answer")
        expect(page.locator(".sweeps")).to_contain_text("before")  # what was read stays


def test_a_server_that_ends_is_told_and_another_asks_for_its_link(tmp_path: Path, open_tab: OpenTab) -> None:
    db = tmp_path / "hlbq.db"
    make(db, "demo")
    with serving(db) as served:
        tab = open_tab(served)
        tab.expected = ("ERR_", "401")
        page = tab.visit("/sweeps/1")
        expect(page.locator("#live")).to_have_text("live")
        served.stop()
        expect(page.locator("#live")).to_have_text("not connected")
        expect(page.locator("#banner")).to_contain_text("does not answer")
        expect(page.locator("table.runs tbody tr")).to_have_count(4)  # what was read stays
        with serving(db, port=int(served.base.rpartition(":")[2])) as second:
            expect(page.get_by_text("The token at hand is not this server's")).to_be_visible()
            page.evaluate("token => { location.hash = `token=${token}`; }", second.token)
            expect(page.locator("table.runs tbody tr")).to_have_count(4)
            expect(page.locator("#live")).to_have_text("live")
            expect(page.locator("#banner")).to_be_hidden()
