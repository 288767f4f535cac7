"""`hlbq rename`, `note` and `tag`: what people call sweeps and runs."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.common import DatabaseOption, JsonOption, SweepArgument, find_run
from orchestrator.cli.option_groups import read_by
from orchestrator.cli.output import print_result
from orchestrator.cli.parsing import CommandLine, VariadicCommand
from orchestrator.errors import UsageError
from orchestrator.notify.commands import user_name
from orchestrator.queue.labels import checked_name, checked_note, checked_tag
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.sweeps import SweepRecord

if TYPE_CHECKING:
    from orchestrator.store import Store

SweepOption = Annotated[int | None, typer.Option("--sweep", min=1, help="A sweep instead of a run.")]


class TagCommand(VariadicCommand):
    """A command in which `-good` is no bundle of options but a tag to remove."""

    def read(self, args: Sequence[str], params: Sequence[Any]) -> CommandLine:
        """What the arguments give, with the tags to remove after `--`."""
        removed = [word for word in args if re.match(r"-[^-]", word) and word != "-h"]
        others = [word for word in args if word not in removed and word != "--"]
        return super().read([*others, "--", *removed], params)


def rename(
    sweep: SweepArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its new name; '' for none.")],
    database: DatabaseOption,
    as_json: JsonOption = False,
) -> None:
    """Give a sweep another name."""
    from orchestrator.store.known import known_sweep

    name = checked_name(name)
    with database.write() as store:
        store.rename(known_sweep(store, sweep), name, user_name())
    text = f"sweep {sweep} is now called '{name}'" if name else f"sweep {sweep} has no name now"
    print_result({"sweep": sweep, "name": name}, text, as_json=as_json)


def note(
    database: DatabaseOption,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN] TEXT", help="The run's number or uid; its new note.")
    ] = None,
    sweep: SweepOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a note on a run, or on a sweep (--sweep 3 TEXT). It replaces the note before; '' removes it."""
    example = 'hlbq note 12 "the loss jumps at step 400"   or: hlbq note --sweep 3 "for the paper"'
    with database.write() as store:
        of, texts = _target(store, words, sweep, example)
        if len(texts) != 1:
            raise UsageError(f"a note is one text, but got {len(texts)}", f"For instance: {example}")
        text = checked_note(texts[0])
        store.set_note(of, text, user_name())
    done = "noted" if text else "the note is removed"
    print_result({_kind(of): of.id, "note": text}, f"{_kind(of)} {of.id}: {done}", as_json=as_json)


@read_by(TagCommand)
def tag(
    database: DatabaseOption,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN] +TAG... -TAG...", help="The run's number or uid; tags to add, to remove."),
    ] = None,
    sweep: SweepOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add tags to a run or a sweep (--sweep 3), and remove tags: hlbq tag 12 +good -todo

    Filters can use them: --tag good chooses the runs with that tag, and the runs of sweeps with that tag.
    """
    example = "hlbq tag 12 +good -todo   or: hlbq tag --sweep 3 +paper"
    with database.write() as store:
        of, texts = _target(store, words, sweep, example)
        unmarked = next((text for text in texts if not text.startswith(("+", "-"))), None if texts else "")
        if unmarked is not None:
            raise UsageError(f"{unmarked!r} neither adds nor removes a tag", f"For instance: {example}")
        add = [checked_tag(text[1:]) for text in texts if text[0] == "+"]
        remove = [checked_tag(text[1:]) for text in texts if text[0] == "-"]
        both = sorted(set(add) & set(remove))
        if both:
            raise UsageError(f"'{both[0]}' is both added and removed", "Leave one of them out.")
        tags = store.change_tags(of, user_name(), add=add, remove=remove)
    text = f"{_kind(of)} {of.id}: {' '.join(tags) or 'no tags'}"
    print_result({_kind(of): of.id, "tags": tags}, text, as_json=as_json)


def _target(
    store: "Store", words: Sequence[str] | None, sweep: int | None, example: str
) -> tuple[SweepRecord | RunRecord, Sequence[str]]:
    """The sweep, or the run that the first word names, and the other words."""
    from orchestrator.store.known import known_sweep

    if sweep is not None:
        return known_sweep(store, sweep), words or ()
    if not words or words[0].startswith(("+", "-")):
        raise UsageError("which run or sweep?", f"For instance: {example}")
    return find_run(store, words[0]), words[1:]


def _kind(of: SweepRecord | RunRecord) -> str:
    return "run" if isinstance(of, RunRecord) else "sweep"
