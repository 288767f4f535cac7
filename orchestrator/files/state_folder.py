"""Where checkpoints, logs and offline wandb files are kept: a folder beside the database."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import DatabaseError, UsageError
from orchestrator.files.given_path import expanded

FOLDER_MODE = 0o700


def state_folder(database_names: Sequence[Path], state_dir: str | None = None) -> Path:
    """The state folder: `state_dir` if given, else `<db>.state` beside the SQLite file.

    `database_names` are the names of one file, the file itself first and links to it after it: a folder beside a link
    stays in use. Raises UsageError if there is no file (PostgreSQL) and no `state_dir`.
    """
    if state_dir:
        return expanded(state_dir).absolute()
    if not database_names:
        raise UsageError(
            "with PostgreSQL you must name the state folder", "Add --state_dir FOLDER, the same for all its workers."
        )
    folders = [name.with_name(f"{name.name}.state") for name in database_names]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def check_state_dir(state_dir: str | None) -> None:
    """Raise DatabaseError where the folder that --state_dir names could not be made: a file stands in its way."""
    folder = state_folder((), state_dir) if state_dir else Path()
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not there.is_dir():
        raise _cannot_be_made(folder, f"'{there}' is not a folder")


def _cannot_be_made(folder: Path, why: str) -> DatabaseError:
    return DatabaseError(f"the state folder '{folder}' cannot be made: {why}", "Name another with --state_dir PATH.")


def make_state_folder(folder: Path) -> Path:
    """The folder, created for its owner alone if missing. Raises DatabaseError if it cannot be created."""
    try:
        make_private_folder(folder)
    except OSError as error:
        raise _cannot_be_made(folder, error.strerror or str(error)) from None
    return folder


def make_private_folder(folder: Path) -> None:
    """Make `folder` and its missing parents, all for their owner alone. Raises OSError if that fails."""
    # mkdir(parents=True) gives its mode to the last folder only. The longest path is looked up first: one that is too
    # long makes nothing.
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=FOLDER_MODE, exist_ok=True)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)  # raises if there is a file
