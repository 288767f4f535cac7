"""The queue and its readers: plan, store, command line, exports, plots. Never imports torch.

For scripts and notebooks: `submit`, `extend` and `wait` run sweeps; `load`, `curves`, `compare` and `plot` read them.
Each is loaded at its first use, so a command pays only for what it uses.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api import extend as extend
    from orchestrator.api import submit as submit
    from orchestrator.api import wait as wait
    from orchestrator.api_readers import compare as compare
    from orchestrator.api_readers import curves as curves
    from orchestrator.api_readers import plot as plot
    from orchestrator.export.frames import load as load

__all__ = ["compare", "curves", "extend", "load", "plot", "submit", "wait"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    homes = {"load": "export.frames", "compare": "api_readers", "curves": "api_readers", "plot": "api_readers"}
    return getattr(import_module(f"orchestrator.{homes.get(name, 'api')}"), name)
