"""The queue's branch of the error tree in hlbgpt_core/errors.py."""

from hlbgpt_core.errors import HlbqError


class UsageError(HlbqError):
    """A command got something that it cannot use."""


class NotThereError(UsageError):
    """There is no run or sweep of that number."""


class PlanError(HlbqError):
    """A sweep that expands to nothing, or to a contradiction."""


class DatabaseError(HlbqError):
    """A database that can't be opened, read or written."""


class DatabaseMissingError(DatabaseError):
    """A command that only reads found no database."""


class DatabaseReplacedError(DatabaseError):
    """The database was removed, and another one made under its name, while it was in use."""


class DatabaseVersionError(DatabaseError):
    """The database's schema is older or newer than this program."""


class DatabaseBusyError(DatabaseError):
    """The database is locked, full or unreachable for now; trying again may help."""


class DatabaseCorruptError(DatabaseError):
    """The file is not a database, or a damaged one."""


class FencedError(HlbqError):
    """A write from a worker that no longer holds the run: nothing was written."""


class CodeNotLoadedError(HlbqError):
    """A worker would hold a run for code that it has not loaded."""


class WorkerGoneError(HlbqError):
    """A beat or claim from a worker that others took for dead, or that was set aside."""


class ExportError(HlbqError):
    """A table or figure that can't be written."""


class UnknownMetricError(ExportError):
    """There is no metric of that name."""


class LaunchError(HlbqError):
    """A cluster that is missing, or refuses to place workers."""


class SyncError(HlbqError):
    """W&B did not accept what was sent; it can be sent again."""
