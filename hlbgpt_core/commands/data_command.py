"""`python -P -m hlbgpt_core.commands.data_command DATASET TOKENIZER`: what `hlbq data prepare` starts.

Encodes a dataset into the cache, with a progress bar on a terminal and plain lines elsewhere.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from hlbgpt_core.errors import HlbqError
from hlbgpt_core.text.data import CacheWatch, load_data

EXIT_FINE, EXIT_USAGE, EXIT_INTERRUPTED = 0, 2, 130
PLAIN_STEP = 0.1  # plain lines come at each tenth
OnProgress = Callable[[str, float], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare one dataset; returns the exit code, and prints errors without a traceback."""
    parser = argparse.ArgumentParser(prog="hlbq data prepare", allow_abbrev=False)
    parser.add_argument("dataset")
    parser.add_argument("tokenizer")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        with progress_on_stderr() as on_progress:
            watch = CacheWatch(on_damage=lambda text: print(f"warning: {text}", file=sys.stderr))
            data = load_data(given.dataset, given.tokenizer, on_progress=on_progress, with_test=True, watch=watch)
    except HlbqError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    facts = {
        "dataset": given.dataset,
        "tokenizer": given.tokenizer,
        "train_tokens": len(data.train),
        "val_tokens": len(data.val),
        "fingerprint": data.fingerprint,
        "test_tokens": 0 if data.test is None else len(data.test),
        "test_fingerprint": data.test_fingerprint,
    }
    if given.json:
        print(json.dumps(facts))
    else:
        tokens = f"{len(data.train):,} tokens to train on, {len(data.val):,} to validate"
        print(f"{given.dataset} with {given.tokenizer}: {tokens}, fingerprint {data.fingerprint}")
    return EXIT_FINE


@contextmanager
def progress_on_stderr() -> Iterator[OnProgress]:
    """A function to call with the current work and its fraction, 0 to 1."""
    if not sys.stderr.isatty():
        yield PlainLines()
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=1.0)
        yield lambda what, fraction: bar.update(task, description=what, completed=fraction)


class PlainLines:
    """Progress as lines for a log: one for each new kind of work, and one at each tenth of it."""

    def __init__(self) -> None:
        self._what, self._next = "", 0.0

    def __call__(self, what: str, fraction: float) -> None:
        if what != self._what:
            self._what, self._next = what, 0.0
        if fraction >= self._next:
            print(f"{what}: {fraction:.0%}" if fraction else what, file=sys.stderr, flush=True)
            self._next = (int(fraction / PLAIN_STEP + 1e-9) + 1) * PLAIN_STEP


if __name__ == "__main__":
    sys.exit(main())
