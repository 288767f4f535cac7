"""Names, tags and notes written on a page: by the rules and the store methods of `hlbq rename`, `tag` and `note`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.queue.labels import MOST_TAGS, checked_name, checked_note, checked_tag
from orchestrator.store import Store
from orchestrator.store.known import known_run, known_sweep


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What is to change of a sweep or a run (the other is 0); None, and no tags, leave what there is."""

    sweep: int = 0
    run: int = 0
    name: str | None = None
    note: str | None = None
    add: Sequence[str] = ()
    remove: Sequence[str] = ()


def read_labels(asked: Any) -> Labels:
    """Labels from a page's JSON, checked. Raises UsageError."""
    if not isinstance(asked, dict) or set(asked) - set(Labels.__dataclass_fields__):
        raise UsageError("the request names something other than sweep, run, name, note, add, remove")
    sweep, run = (_number(asked, name) for name in ("sweep", "run"))
    if bool(sweep) == bool(run):
        raise UsageError("the request must name a sweep or a run")
    name, note = (_text(asked, one) for one in ("name", "note"))
    if run and name is not None:
        raise UsageError("runs have no names", "Use a note or a tag.")
    add, remove = (tuple(map(checked_tag, _texts(asked, one))) for one in ("add", "remove"))
    name, note = name if name is None else checked_name(name), note if note is None else checked_note(note)
    return Labels(sweep=sweep, run=run, name=name, note=note, add=add, remove=remove)


def _number(asked: Mapping[str, Any], name: str) -> int:
    found = asked.get(name, 0)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < 2**63:
        raise UsageError(f"'{name}' is not the number of a {name}")
    return found


def _text(asked: Mapping[str, Any], name: str) -> str | None:
    found = asked.get(name)
    if found is not None and not isinstance(found, str):
        raise UsageError(f"the {name} must be a text")
    return found


def _texts(asked: Mapping[str, Any], name: str) -> Sequence[str]:
    found = asked.get(name, [])
    if not isinstance(found, list) or len(found) > MOST_TAGS or not all(isinstance(one, str) for one in found):
        raise UsageError(f"'{name}' must be a list of at most {MOST_TAGS} tags")
    return found


def write_labels(store: Store, labels: Labels, actor: str) -> None:
    """Make the changes. Raises NotThereError if there is no such sweep or run, UsageError for too many tags."""
    of = known_sweep(store, labels.sweep) if labels.sweep else known_run(store, labels.run)
    if labels.add or labels.remove:  # first: it alone may still be refused
        store.change_tags(of, actor, add=labels.add, remove=labels.remove)
    if labels.sweep and labels.name is not None:
        store.rename(known_sweep(store, labels.sweep), labels.name, actor)
    if labels.note is not None:
        store.set_note(of, labels.note, actor)
