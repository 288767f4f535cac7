"""What a policy says, in words."""

from orchestrator.growth.policy import REJECTED, Closure, DecidePolicy, Reason
from orchestrator.wording.numbers import counted


def closure_text(closure: Closure, policy: DecidePolicy) -> str:
    """Why an arm is closed: `better by 0.021 after 6 seeds`, `closed: 8 % chance of a verdict by 20 seeds; ...`."""
    after = f"after {counted(closure.seeds, 'seed')}"
    interval = _interval(closure)
    if closure.reason in REJECTED:
        less = f", by less than {policy.margin:g}" if closure.within_margin else ""
        return f"{closure.reason}{less} {after}: difference {_signed(closure.mean)}{interval}"
    if closure.reason is Reason.NO_DIFFERENCE:
        return f"no difference larger than {policy.margin:g} {after}{interval}"
    if closure.reason is Reason.FUTILE:
        chance = f"{100 * (closure.chance or 0):.0f} % chance of a verdict by {counted(policy.max_seeds, 'seed')}"
        return f"closed {after}: {chance}{interval}"
    if closure.reason is Reason.CAP:
        word = "not surely worse than the best" if policy.best_arm else "undecided"
        return f"{word} at the cap of {counted(policy.max_seeds, 'seed')}{interval}"
    if closure.reason is Reason.NO_PAIRS:
        return f"closed {after}: none of them gave a pair with a number of {policy.metric}"
    if closure.reason is Reason.HELD_BACK:
        return f"closed {after}: it would look decided, but one side diverged more often{interval}"
    if closure.reason is Reason.BEST:
        return f"the best {after}"
    return f"surely not the best {after}"


def _interval(closure: Closure) -> str:
    if closure.low is None or closure.high is None:
        return ""
    return f"; interval {_signed(closure.low)} to {_signed(closure.high)}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.4g}"
