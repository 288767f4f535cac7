"""Which runs a reader means: the same for commands and for calls from Python."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hlbgpt_core.settings import specs, unknown_setting
from orchestrator.errors import UsageError
from orchestrator.queue.runs import RunFilter
from orchestrator.sweep.option_spec import LARGEST_WHOLE_NUMBER, several_of, shown
from orchestrator.sweep.options import sought_value, value_text

if TYPE_CHECKING:
    from orchestrator.store import Store

# Names that filters take in addition to settings.
_RUN_NUMBERS = ("seed", "run_num")


def filter_value(name: str, text: str) -> Any:
    """The value of a setting, or of a seed or run_num, that runs must have. Raises UsageError or SettingsError."""
    if name in _RUN_NUMBERS:
        if not (text.isascii() and text.isdecimal()):
            raise UsageError(f"--where {name}={text}: '{text}' is not a whole number", f"For instance: {name}=100")
        if len(text) > 19 or int(text) >= LARGEST_WHOLE_NUMBER:
            raise UsageError(f"--where {name}={text}: it is too large", "Use a value below 2**63.")
        return int(text)
    if name not in specs():
        raise unknown_setting(name)
    return sought_value(name, text)


def python_filter(
    sweep: int | Iterable[int] | None, where: Mapping[str, Any] | None, runs: RunFilter | None, *, everything: bool
) -> RunFilter | None:
    """The filter of what a caller gave, None for nothing. A list or array in `where` lets any of its values through.

    Raises UsageError for `runs` or `all` beside another filter, for no sweep at all, for what is no sweep's number, for
    what is no mapping or no filter, and as `filter_value`.
    """
    if where is not None and not isinstance(where, Mapping):
        raise UsageError(f"where: '{shown(where)}' is not a mapping", "For instance: where={'depth': 4}")
    if not isinstance(runs, RunFilter | None):
        raise UsageError(f"runs: '{shown(runs)}' is not a RunFilter", "For instance: runs=RunFilter(run_ids=(1, 2))")
    given = sweep is not None or bool(where)
    if given + (runs is not None) + everything > 1:
        raise UsageError("sweep and where, runs, and all are three ways to choose runs", "Use one of them.")
    if not given:
        return RunFilter() if everything else runs
    wanted = {}
    for name, value in (where or {}).items():
        wanted[name] = [filter_value(str(name), value_text(one)) for one in several_of(value)]
    if sweep is None:
        return RunFilter(where=wanted)
    sweeps = tuple(map(sweep_number, several_of(sweep)))
    if not sweeps:  # as a filter it would let every sweep through
        raise UsageError("sweep names no sweep", "Leave it out for the latest one, or use all=True.")
    return RunFilter(sweep_ids=sweeps, where=wanted)


def sweep_number(given: Any) -> int:
    """The number of a sweep, numpy's too. Raises UsageError for what is none."""
    try:
        number = int(given)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or (isinstance(given, float) and given != number):
        raise UsageError(f"sweep: '{shown(given)}' is not a sweep's number", "For instance: sweep=1")
    return number


def readable_runs(store: "Store", wanted: RunFilter | None) -> RunFilter:
    """The runs that the filter chooses, the members of sweeps among them; None: those of the latest sweep. Raises
    UsageError if there is no sweep yet, NotThereError for a sweep or run that is named and not there."""
    from orchestrator.store.known import check_named

    if wanted is not None:
        check_named(store, wanted)
        return replace(wanted, with_members=True)
    latest = store.latest_sweep()
    if latest is None:
        raise UsageError(f"'{store.location.display}' holds no sweep yet", "Make one: hlbq submit --help")
    return RunFilter(sweep_ids=(latest.id,), with_members=True)
