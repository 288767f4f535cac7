"""The queue and its readers: plan, store, command line, exports, plots. Never imports torch.

For scripts: `submit` queues a sweep, `load` reads its results as a pandas data frame. Each is loaded at its first use,
so a command pays only for what it uses.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api import submit as submit
    from orchestrator.export.frames import load as load

__all__ = ["load", "submit"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from orchestrator.export.frames import load

        return load
    if name == "submit":
        from orchestrator.api import submit

        return submit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
