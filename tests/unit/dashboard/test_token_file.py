"""The link's token is kept between starts, where only its owner can read it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orchestrator.dashboard.serving.token_file import READING_TOKEN_FILE, TOKEN_FILE, kept_token


def test_a_token_is_kept_until_a_new_one_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "hlbq.db.state"
    token = kept_token(folder, read_only=False)
    assert kept_token(folder, read_only=False) == token and len(token) == 32
    assert (folder / TOKEN_FILE).stat().st_mode & 0o777 == 0o600 and folder.stat().st_mode & 0o777 == 0o700
    renewed = kept_token(folder, read_only=False, new=True)
    assert renewed != token and kept_token(folder, read_only=False) == renewed


def test_a_link_that_was_shared_to_read_is_of_no_use_to_change(tmp_path: Path) -> None:
    assert kept_token(tmp_path, read_only=True) != kept_token(tmp_path, read_only=False)
    assert (tmp_path / READING_TOKEN_FILE).read_text() == kept_token(tmp_path, read_only=True)


def test_a_file_that_others_could_read_or_have_put_there_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / TOKEN_FILE
    token = kept_token(tmp_path, read_only=False)
    path.chmod(0o644)
    second = kept_token(tmp_path, read_only=False)
    assert second != token and path.stat().st_mode & 0o777 == 0o600
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert kept_token(tmp_path, read_only=False) != second
    assert not path.is_symlink() and (tmp_path / "elsewhere").read_text() == second
    path.write_text("guessed")
    assert len(kept_token(tmp_path, read_only=False)) == 32


def test_where_nothing_can_be_kept_the_token_holds_for_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert kept_token(tmp_path / "file", read_only=False) != kept_token(tmp_path / "file", read_only=False)


def test_dashboards_that_start_together_have_one_token(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda _: kept_token(tmp_path / "state", read_only=False), range(16)))
    assert set(tokens) == {kept_token(tmp_path / "state", read_only=False)}
    assert [one.name for one in (tmp_path / "state").iterdir()] == [TOKEN_FILE]
