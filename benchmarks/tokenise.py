"""Tokenising against plain tiktoken: speed, peak memory, and the time to open what is cached.

    python -m benchmarks.tokenise [--megabytes 100]

The text is the standard library's .py files repeated. The baseline is `encode_ordinary_batch` over the same
text, cut into as many equal parts as there are cores times eight, with a thread for each core. Each
measurement runs in a separate process with its own peak memory.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hlbgpt_core.text.data import load_data
from hlbgpt_core.text.encoding import available_cpus
from hlbgpt_core.text.sources import local_splits, parse_dataset
from hlbgpt_core.text.vocabulary_files import provide_vocabulary

MEGABYTE = 1_000_000


def write_text(file: Path, size_bytes: int) -> None:
    """Write the standard library's source over and over until `size_bytes` are there."""
    splits = local_splits(parse_dataset("pystdlib"))
    sources = [span.path.read_bytes() for span in (*splits.train, *splits.val)]
    written = 0
    with file.open("wb") as output:
        while written < size_bytes:
            for source in sources:
                written += output.write(source)
                if written >= size_bytes:
                    break


def measure_plain(file: Path, cache_dir: Path) -> None:
    """encode_ordinary_batch over the text, held in memory whole."""
    import os

    os.environ["TIKTOKEN_CACHE_DIR"] = str(provide_vocabulary("gpt2", cache_dir))
    import tiktoken

    encoding = tiktoken.get_encoding("gpt2")
    text = file.read_bytes().decode("utf-8")
    part = len(text) // (available_cpus() * 8) + 1
    parts = [text[start : start + part] for start in range(0, len(text), part)]
    started = time.perf_counter()
    encoding.encode_ordinary_batch(parts, num_threads=available_cpus())
    _print_result(time.perf_counter() - started)


def measure_load(file: Path, cache_dir: Path) -> None:
    """load_data: reading, hashing, encoding and writing; or opening, the second time."""
    provide_vocabulary("gpt2", cache_dir)
    started = time.perf_counter()
    load_data(f"text:{file}", "gpt2", cache_dir=cache_dir)
    _print_result(time.perf_counter() - started)


def _print_result(seconds: float) -> None:
    peak_megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps({"seconds": seconds, "peak_megabytes": peak_megabytes}))


def _in_own_process(what: str, file: Path, cache_dir: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.tokenise", "--measure", what, str(file), str(cache_dir)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result


def compare(megabytes: int, rounds: int) -> None:
    """Print a row of figures for text of `megabytes`: medians over `rounds`, taken in turn."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "text.txt")
        write_text(file, megabytes * MEGABYTE)
        plain, built, opened = [], [], []
        for number in range(rounds):
            cache_dir = Path(folder, f"cache-{number}")
            plain.append(_in_own_process("plain", file, cache_dir))
            built.append(_in_own_process("load", file, cache_dir))
            opened.append(_in_own_process("load", file, cache_dir))
    ratio = statistics.median(before["seconds"] / after["seconds"] for before, after in zip(plain, built, strict=True))
    print(
        f"{megabytes:5d} MB  plain {_median(plain, 'seconds'):6.2f} s {_median(plain, 'peak_megabytes'):6.0f} MB   "
        f"load_data {_median(built, 'seconds'):6.2f} s {_median(built, 'peak_megabytes'):5.0f} MB   "
        f"speed {ratio:.2f}x of plain (wanted: 0.90)   "
        f"cached: {_median(opened, 'seconds') * 1000:.1f} ms (wanted: under 50)"
    )


def _median(results: list[dict[str, float]], figure: str) -> float:
    return statistics.median(result[figure] for result in results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "FILE", "CACHE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        what, file, cache_dir = arguments.measure
        {"plain": measure_plain, "load": measure_load}[what](Path(file), Path(cache_dir))
        return
    for megabytes in arguments.megabytes:
        compare(megabytes, arguments.rounds)


if __name__ == "__main__":
    main()
