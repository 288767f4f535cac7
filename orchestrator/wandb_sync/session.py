"""One session with W&B: open a run, log its new rows, and check W&B's own count of them.

W&B numbers the lines of a run's history, and a resumed run goes on after the last: hlbq sends row n as line n, so a row
sent twice replaces itself. Offline, a session writes a folder of new rows that `wandb sync` appends later.
"""

import contextlib
import gc
import importlib.util
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import SyncError, UsageError
from orchestrator.wandb_sync.rows import AXES, GROUPS_OF_METRICS, Upload

JOB_TYPE = "train"


@dataclass(frozen=True, kw_only=True)
class SyncTiming:
    """A sync's time limits in seconds, in one value so that tests can shorten them together.

    wandb repeats a request, ever more slowly; `finish_timeout_seconds` ends that, and the next pass sends what is
    missing. A session that takes longer than `session_seconds` in all counts as hung.
    """

    poll_seconds: float = 10.0
    lease_seconds: float = 60.0
    session_seconds: float = 900.0
    finish_timeout_seconds: float = 300.0
    init_timeout_seconds: float = 90.0
    request_timeout_seconds: float = 30.0
    retry_least_seconds: float = 1.0
    retry_most_seconds: float = 20.0
    retries: int = 12
    confirm_seconds: float = 15.0


class CurveReplacedError(Exception):
    """W&B holds more rows than the run has: it restarted. Users never see it: the curve is sent again."""


class Wandb:
    """wandb as this process uses it, loaded and logged in.

    Raises UsageError if wandb is not installed, switched off, or has no key. The key stays with wandb: hlbq neither
    reads nor keeps it.
    """

    def __init__(self, timing: SyncTiming) -> None:
        if importlib.util.find_spec("wandb") is None:
            raise UsageError("wandb is not installed", "pip install wandb")
        try:
            import wandb
        except ImportError as error:
            raise UsageError(
                f"wandb does not load: {error}", "Reinstall it: pip install --force-reinstall wandb"
            ) from None

        self._wandb, self._timing = wandb, timing
        logging.getLogger("wandb").setLevel(logging.CRITICAL)
        try:
            settings = wandb.setup(settings=wandb.Settings(silent=True)).settings
        except (ValueError, wandb.errors.UsageError) as error:  # of a variable or of a settings file
            raise _refused_setting(error) from None
        if settings.mode == "disabled":
            raise UsageError("wandb is switched off (WANDB_MODE=disabled)", "unset WANDB_MODE, or: wandb enabled")
        self.offline = settings.mode in ("offline", "dryrun")
        if not self.offline:
            _check_log_in(str(settings.base_url))
        # wandb is large and stays in memory: keep the garbage collector from visiting it while points are read.
        gc.freeze()

    def send(self, upload: Upload, folder: Path) -> int:
        """Send the rows of `upload` that W&B lacks and wait until it has them; returns its number of rows.

        Raises CurveReplacedError if W&B holds more, SyncError if it did not accept everything.
        """
        with _plain_errors(self._wandb, upload.id):
            run = self._open(upload, folder)
            path, held = run.path, run.starting_step
            try:
                if held <= len(upload.rows):
                    _log(run, upload, first=held)
            finally:
                run.finish(exit_code=upload.exit_code or 0)
            if held > len(upload.rows):
                raise CurveReplacedError(upload.id)
            return self._confirm(path, len(upload.rows))

    def write_offline(self, upload: Upload, folder: Path, *, first: int) -> Path:
        """Write the rows from `first` on as an offline run; returns its folder."""
        with _plain_errors(self._wandb, upload.id):
            run = self._open(upload, folder)
            _log(run, upload, first=first)
            written = Path(run.settings.sync_dir)
            if upload.exit_code is None:
                _leave_running(run)
            run.finish(exit_code=upload.exit_code or 0)
            return written

    def _open(self, upload: Upload, folder: Path) -> Any:
        run = self._wandb.init(
            dir=str(folder),
            id=upload.id,
            resume="allow",
            reinit="create_new",
            project=upload.project,
            group=upload.group,
            job_type=JOB_TYPE,
            name=upload.name,
            notes=upload.notes,
            tags=list(upload.tags),
            config=dict(upload.config),
            allow_val_change=True,
            settings=self._settings(upload),
        )
        define_axes(run)
        return run

    def _settings(self, upload: Upload) -> Any:
        timing = self._timing
        per_service: dict[str, Any] = {
            "retry_max": timing.retries,
            "retry_wait_min_seconds": timing.retry_least_seconds,
            "retry_wait_max_seconds": timing.retry_most_seconds,
            "timeout_seconds": timing.request_timeout_seconds,
        }
        services = ("file_stream", "file_transfer", "graphql")
        network = {f"x_{service}_{name}": value for service in services for name, value in per_service.items()}
        return self._wandb.Settings(
            # Send only what the database holds: nothing about this machine, its console or its code.
            console="off",
            silent=True,
            program="hlbq sync",
            host="",
            disable_git=True,
            disable_code=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            # wandb's file of rows to send is not needed: we have the database. Offline, the file is the purpose.
            x_skip_transaction_log=not self.offline,
            # Without an end, the run goes on for W&B too.
            x_update_finish_state=upload.exit_code is not None,
            init_timeout=timing.init_timeout_seconds,
            finish_timeout=timing.finish_timeout_seconds,
            finish_timeout_raises=True,
            **network,
        )

    def _confirm(self, path: str, rows: int) -> int:
        """Ask W&B how many rows it holds. wandb says nothing when it gives up on some."""
        until = time.monotonic() + self._timing.confirm_seconds
        while True:
            # An Api object caches its answers, so ask a new one.
            api = self._wandb.Api(timeout=max(1, round(self._timing.request_timeout_seconds)))
            held = int(api.run(path).historyLineCount or 0)
            if held >= rows:
                return rows
            if time.monotonic() > until:
                raise SyncError(f"W&B holds {held} of {rows} points of {path}", "Send again: hlbq sync")
            time.sleep(0.2)


def define_axes(run: Any) -> None:
    """Make W&B draw every metric of a run over tokens, and offer the other axes."""
    for axis in AXES:
        run.define_metric(axis, hidden=True)
    for group in GROUPS_OF_METRICS:
        run.define_metric(group, step_metric=AXES[0])


def _log(run: Any, upload: Upload, *, first: int) -> None:
    # Without a step, W&B numbers rows like lines, continuing from those it holds; so does `wandb sync` later.
    for row in upload.rows[first:]:
        run.log(row)
    run.summary.update(dict(upload.summary))


def _leave_running(run: Any) -> None:
    """Have `wandb sync` leave the run running: the file keeps no settings, but its exit record may be no end."""
    exit_record = run._interface._make_exit

    def no_end(exit_code: int) -> Any:
        record = exit_record(exit_code)
        record.not_complete = True
        return record

    run._interface._make_exit = no_end


def _refused_setting(error: Exception) -> UsageError:
    """What wandb refuses of its variables and settings files. A key is not repeated."""
    words = str(error)
    if isinstance(error, ValueError) and hasattr(error, "errors"):
        found = [("_".join(map(str, one["loc"])), one["input"], one["msg"]) for one in error.errors()]
        words = "; ".join(f"{name}{'' if 'key' in name else f' {given!r}'}: {why}" for name, given, why in found)
    return UsageError(f"wandb refuses a setting: {words}", "Correct or unset it: env | grep ^WANDB; wandb status")


def _check_log_in(server: str) -> None:
    from wandb.sdk.lib import wbauth

    try:
        known = wbauth.authenticate_session(host=server, source="hlbq sync", prompt=False)
    except Exception:  # a malformed key, which wandb's message might contain
        raise UsageError(f"wandb's key for {server} is malformed", "Log in again: wandb login --relogin") from None
    if known is None:
        raise UsageError(
            f"you are not logged in to wandb at {server}", "Log in: wandb login. To upload later: WANDB_MODE=offline"
        )


@contextlib.contextmanager
def _plain_errors(wandb: Any, run: str) -> Iterator[None]:
    """Turn wandb's errors into SyncError."""
    try:
        yield
    except (wandb.errors.Error, TimeoutError, OSError, ValueError) as error:
        words = " ".join(str(error).split())[:300] or type(error).__name__
        raise SyncError(f"W&B did not accept run {run}: {words}", "Try again: hlbq sync") from None
