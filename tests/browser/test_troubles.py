"""What a page says when its database or its server goes away, and that it comes back by itself."""

import contextlib
import dataclasses
import http.client
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from orchestrator.store import OpenMode, open_store
from tests.browser.conftest import OpenTab, Served, serving
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


def test_a_server_that_ends_is_told_and_the_next_one_goes_on(tmp_path: Path, open_tab: OpenTab) -> None:
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
        port = int(served.base.rpartition(":")[2])
        with serving(db, port=port) as second:
            assert second.token == served.token
            expect(page.locator("#live")).to_have_text("live")
            expect(page.locator("#banner")).to_be_hidden()
        with serving(db, "--new_token", port=port) as third:
            expect(page.get_by_text("This browser's token is not this server's")).to_be_visible()
            page.evaluate("token => { location.hash = `token=${token}`; }", third.token)
            expect(page.locator("table.runs tbody tr")).to_have_count(4)
            expect(page.locator("#live")).to_have_text("live")


@contextlib.contextmanager
def proxy_of(served: Served) -> Iterator[str]:
    """What JupyterHub and code-server do: pass requests on without their prefix. Gives the proxied address."""

    class Passing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix("/user/ada/proxy")
            assert path != self.path, f"{self.path} is outside of the prefix"
            there = http.client.HTTPConnection(served.base.removeprefix("http://"))
            there.request("GET", path, headers=dict(self.headers))
            answer = there.getresponse()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):  # the page was left
                while part := answer.read1(65536):
                    self.wfile.write(part)
            there.close()

        def log_message(self, *words: Any) -> None:
            """Nothing to standard error."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Passing)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/user/ada/proxy"
    server.shutdown()
    server.server_close()


def test_behind_a_proxy_that_takes_a_prefix_away_every_page_works(tmp_path: Path, open_tab: OpenTab) -> None:
    db = tmp_path / "hlbq.db"
    make(db, "demo")
    with serving(db) as served, proxy_of(served) as base:
        # A tab notes every request that is outside of `base`.
        page = open_tab(dataclasses.replace(served, base=base)).visit("/")
        expect(page.locator(".sweeps")).to_contain_text("demo")
        expect(page.locator("#live")).to_have_text("live")
        page.get_by_role("link", name="1 demo").click()
        expect(page.locator("table.runs tbody tr")).to_have_count(4)
        page.locator("a.run").first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Run 1")
        assert page.url == f"{base}/runs/1"
        page.reload()
        expect(page.get_by_role("heading", level=1)).to_have_text("Run 1")
        page.get_by_role("link", name="Workers", exact=True).click()
        expect(page.get_by_role("heading", name="Workers")).to_be_visible()
        page.keyboard.press("s")
        expect(page.get_by_role("heading", name="Sweeps")).to_be_visible()
        expect(page.locator("#live")).to_have_text("live")
