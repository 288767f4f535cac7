"""Early stopping of a search, as the worker of one run sees it: at each rung the run goes on or ends."""

from typing import TYPE_CHECKING

from hlbgpt_core.points import Directive, Point, Split
from orchestrator.errors import DatabaseBusyError
from orchestrator.queue.attempts import Claim
from orchestrator.queue.sweeps import SEARCH
from orchestrator.store import Store

# Most workers never need what judges: it is imported where it is used.
if TYPE_CHECKING:
    from orchestrator.growth.early_stopping import Halving


class Rungs:
    """The rungs ahead of a claimed run, in tokens seen. `stopped_why` says why it ends at one; empty while it goes on.

    Each rung is judged once in the life of a run.
    """

    def __init__(self, store: Store, claim: Claim, halving: "Halving | None" = None) -> None:
        self.ahead = list(halving.rungs) if halving else []
        self.stopped_why = ""
        self._store, self._claim, self._halving = store, claim, halving
        self._tokens_evaluated = 0

    @classmethod
    def of(cls, store: Store, claim: Claim) -> "Rungs":
        """Those of the run's sweep; none where the database does not answer."""
        try:
            record = store.policy(claim.run.sweep_id)
            if record is None or record.kind != SEARCH:
                return cls(store, claim)
            from orchestrator.growth.early_stopping import halving_of

            return cls(store, claim, halving_of(store, record, claim.run))
        except DatabaseBusyError:
            return cls(store, claim)

    def note(self, point: Point) -> None:
        """The run made a point."""
        if point.split is Split.VAL:
            self._tokens_evaluated = point.tokens_seen

    @property
    def reached(self) -> bool:
        """Whether an evaluation at or past the next rung is there."""
        return bool(self.ahead) and self._tokens_evaluated >= self.ahead[0]

    def judge(self) -> Directive:
        """Whether the run goes on past the rungs that it has reached, by the points that are stored.

        Raises DatabaseBusyError where the database does not answer: call again. Raises FencedError where the lease is
        over.
        """
        from orchestrator.growth.early_stopping import RUNG, judge

        while self._halving is not None and self.reached:
            verdict = judge(self._store, self._claim.run, self._halving, self.ahead[0])
            if not verdict.goes_on:
                self.ahead.clear()
                self.stopped_why = verdict.text
                return Directive.RELEASE
            self._store.note(self._claim.lease, RUNG, verdict.text)
            del self.ahead[0]
        return Directive.CONTINUE
