"""Numbers for people."""

_LARGEST_IN_FULL = 1e15


def short_count(number: float) -> str:
    """A count: `812`, `30.8K`, `46.0M`, `1.2B`, then T, P and E."""
    for size, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return f"{number:.0f}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 run`, `1,000 runs`; `plural` for nouns with an irregular plural."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def duration(seconds: float | None) -> str:
    """A time for people: `45 s`, `12 min`, `3 h 20 min`, `2 d 5 h`; `0 s` where a clock was set back."""
    if seconds is None:
        return "?"
    if seconds < 60:
        return f"{max(seconds, 0.0):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def hours_text(hours: float) -> str:
    """Hours for people: `0.25`, `12.5`, `1,234`; empty for none."""
    if not hours:
        return ""
    return f"{hours:,.{2 if hours < 10 else 1 if hours < 100 else 0}f}" if hours >= 0.005 else "<0.01"


def loss_text(loss: float | None) -> str:
    """A loss to four digits; empty for None."""
    return "" if loss is None else f"{loss:.4f}"


def measured_text(value: float, *, digits: int = 5, signed: bool = False) -> str:
    """A measured number to the given digits: `2.6800`, `0.037180`, `226,312`, and `3` for a whole number."""
    sign = "+" if signed else ""
    if not abs(value) < _LARGEST_IN_FULL:
        return f"{value:{sign}.{digits}g}"
    if abs(value) >= 10 ** (digits - 1) or (value == int(value) and abs(value) < 10**digits):
        return f"{value:{sign},.0f}"
    return f"{value:{sign}#,.{digits}g}"
