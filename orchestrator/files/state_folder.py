"""Where checkpoints, logs and offline wandb files lie: a folder beside the database."""

from pathlib import Path

from orchestrator.errors import DatabaseError, UsageError

FOLDER_MODE = 0o700


def state_folder(database_file: Path | None, state_dir: str | None = None) -> Path:
    """The state folder: `state_dir` if given, else `<db>.state` beside an SQLite file.

    Raises UsageError where there is no file to stand beside (PostgreSQL) and none was named.
    """
    if state_dir:
        return Path(state_dir).expanduser().absolute()
    if database_file is None:
        raise UsageError(
            "with PostgreSQL the state folder must be named", "Add --state_dir FOLDER, the same for all its workers."
        )
    return database_file.with_name(f"{database_file.name}.state")


def make_state_folder(folder: Path) -> Path:
    """The folder, made for its owner alone where it was not there. Raises DatabaseError where it can't be."""
    try:
        make_private_folder(folder)
    except OSError as error:
        raise DatabaseError(
            f"the state folder '{folder}' cannot be made: {error.strerror}", "Name another with --state_dir PATH."
        ) from None
    return folder


def make_private_folder(folder: Path) -> None:
    """Make `folder` and what is missing above it, all for their owner alone. Raises OSError where it can't be."""
    # mkdir(parents=True) gives its mode to the last folder only.
    for missing in reversed([folder, *folder.parents]):
        if not missing.exists():
            missing.mkdir(mode=FOLDER_MODE, exist_ok=True)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)  # raises where a file stands there
