"""What a reader of several sweeps together must know: other code, other data, other evaluations."""

from collections.abc import Sequence

from orchestrator.comparison.cautions import code_warnings
from orchestrator.comparison.groups import check_comparable
from orchestrator.errors import UsageError
from orchestrator.queue.records import RunFilter
from orchestrator.store import Store


def cautions_of(store: Store, sweep_ids: Sequence[int]) -> list[str]:
    """Why numbers of these sweeps may mean different things, in the words of `hlbq compare`."""
    runs = [run for run in store.runs(RunFilter(sweep_ids=tuple(sweep_ids), with_members=True)) if run.fence]
    found = []
    for data, evaluation in ((True, False), (False, True)):
        try:
            check_comparable(runs, "val_loss", allow_mixed_data=data, allow_mixed_evaluation=evaluation)
        except UsageError as error:
            found.append(error.message)
    return [*dict.fromkeys(found), *code_warnings(store, runs)]
