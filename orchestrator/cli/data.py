"""`hlbq data`: list, prepare, check and remove the datasets in the token cache."""

import contextlib
import difflib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from hlbgpt_core.errors import DataError, SettingsError
from hlbgpt_core.scale import unpadded_vocabulary_size
from hlbgpt_core.settings import specs
from hlbgpt_core.text.dataset_source import DatasetSource
from hlbgpt_core.text.sources import absolute_dataset, check_dataset
from hlbgpt_core.text.token_cache import (
    CacheEntry,
    CacheRecord,
    default_cache_dir,
    list_caches,
    read_manifest,
    remove_cache,
    verify_cache,
)
from orchestrator.cli.common import JsonOption, YesOption
from orchestrator.cli.option_groups import CommandGroup, option
from orchestrator.cli.output import ask, counted, note, print_json, print_result, print_table, say, short_count
from orchestrator.errors import UsageError
from orchestrator.launch.python_process import become_core_command

DEFAULT_TOKENIZER = str(specs()["tokenizer"].default)
TokenizerFilter = Annotated[
    str | None, typer.Option("--tokenizer", help="If NAME is a dataset: only with this tokenizer.")
]


def list_(as_json: JsonOption = False) -> None:
    """List the datasets in the cache, with their sizes."""
    folder = default_cache_dir()
    records = list_caches(folder)
    if as_json:
        print_json({"cache": str(folder), "datasets": records})
        return
    if not records:
        note(f"The cache '{folder}' is empty.")
        note("Runs prepare their data themselves. To do it now: hlbq data prepare wikitext-103")
        return
    print_table(
        ["name", "dataset", "tokenizer", "train tokens", "val tokens", "on disk", "made (UTC)"], map(_row, records)
    )
    say(f"{size_text(sum(record.bytes_on_disk for record in records))} in {folder}")


def prepare(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="wikitext-103, pystdlib, text:PATH or hf:NAME[:CONFIG].")
    ],
    tokenizer: str = option(DEFAULT_TOKENIZER, help="A tiktoken encoding, bytes, or bpe:SIZE."),
    as_json: JsonOption = False,
) -> None:
    """Encode a dataset into the cache before a run needs it."""
    check_dataset(dataset)
    unpadded_vocabulary_size(tokenizer)
    arguments = [absolute_dataset(dataset), tokenizer]
    become_core_command("data_command", [*arguments, "--json"] if as_json else arguments)


def info(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of `hlbq data list`, or a dataset.")],
    tokenizer: TokenizerFilter = None,
    verify: bool = option(False, help="Read all tokens and check them."),
    as_json: JsonOption = False,
) -> None:
    """Show what the cache has of a dataset; exit code 1 if --verify finds it damaged."""
    folder = default_cache_dir()
    described = [_described(folder, record, verify=verify) for record in find_caches(folder, name, tokenizer)]
    if as_json:
        print_json(described)
    else:
        for number, facts in enumerate(described):
            say("\n" * bool(number), end="")
            for label, value in facts.items():
                say(f"{label.replace('_', ' '):<13} {_value_text(value)}")
    if any(facts.get("verified") == "altered" for facts in described):
        note("Remove it, and the next use encodes it again: hlbq data remove NAME")
        raise typer.Exit(1)


def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of `hlbq data list`, or a dataset.")],
    tokenizer: TokenizerFilter = None,
    as_json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Remove a dataset from the cache, after asking. A run that needs it encodes it again."""
    folder = default_cache_dir()
    found = find_caches(folder, name, tokenizer)
    size = size_text(sum(record.bytes_on_disk for record in found))
    if not yes:
        ask(f"Remove {', '.join(record.name for record in found)} ({size})?", otherwise="Nothing was removed.")
    removed = [remove_cache(folder, record.name) for record in found]
    print_result({"removed": removed}, f"removed {counted(len(removed), 'dataset')}, {size}", as_json=as_json)


def find_caches(folder: Path, name: str, tokenizer: str | None) -> Sequence[CacheRecord]:
    """The caches that `name` means: the one of that name, or those of a dataset (with a tokenizer, if given). Raises
    UsageError, with the nearest name, if there are none."""
    records = list_caches(folder)
    wanted = {name}
    with contextlib.suppress(DataError):
        wanted.add(absolute_dataset(name))
    found = [
        record
        for record in records
        if record.name == name or (record.dataset in wanted and tokenizer in (None, record.tokenizer))
    ]
    if not found:
        known = sorted({text for record in records for text in (record.name, record.dataset) if text})
        near = difflib.get_close_matches(name, known, n=1)
        with_tokenizer = f" with tokenizer '{tokenizer}'" if tokenizer else ""
        suggestion = f"Did you mean '{near[0]}'? " if near and near[0] != name else ""
        raise UsageError(
            f"there is no dataset '{name}'{with_tokenizer} in the cache '{folder}'", f"{suggestion}See: hlbq data list"
        )
    return found


def size_text(size_bytes: int) -> str:
    """A size for people: `812 B`, `30.8 KB`, `1.2 GB` (of 1,000 bytes each)."""
    for unit_bytes, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if size_bytes >= unit_bytes:
            return f"{size_bytes / unit_bytes:.1f} {unit}"
    return f"{size_bytes} B"


def _row(record: CacheRecord) -> list[str]:
    if not record.usable:
        return [record.name, "incomplete; the next use rebuilds it", "", "", "", size_text(record.bytes_on_disk), ""]
    tokens = map(short_count, (record.train_tokens, record.val_tokens))
    size = size_text(record.bytes_on_disk)
    return [record.name, record.dataset, record.tokenizer, *tokens, size, record.made_at]


def _described(folder: Path, record: CacheRecord, *, verify: bool) -> dict[str, Any]:
    """What to show of one cache, by label."""
    entry = CacheEntry(cache_dir=folder, name=record.name)
    manifest = read_manifest(entry.folder)
    facts = {**asdict(record), "folder": str(entry.folder)}
    if manifest is not None:
        facts |= {
            "vocab_size": manifest.vocab_size,
            "train_bytes": manifest.train_bytes,
            "val_bytes": manifest.val_bytes,
            "text": _text_state(folder, record),
        }
    if verify:
        facts["verified"] = "whole" if verify_cache(folder, record.name) else "altered"
    return facts


def _value_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no; the next use rebuilds it"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _text_state(folder: Path, record: CacheRecord) -> str:
    """Whether the text on this machine is still the text that was encoded."""
    try:
        source = DatasetSource.of(record.dataset, record.tokenizer, folder)
    except (DataError, SettingsError) as error:
        return f"no longer here ({error.message})"
    if source.local is None:
        return "from a hub; stays as it was encoded"
    if source.entry.name != record.name:
        return "from another Python or folder"
    return "unchanged" if source.manifest_if_unchanged() else "changed since; the next use encodes it again"


data = CommandGroup("data", "Datasets in the token cache: list, prepare, info, remove.", (list_, prepare, info, remove))
