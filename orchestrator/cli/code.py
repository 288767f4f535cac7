"""`hlbq code`: the code that computed runs, as the database keeps it."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hlbgpt_core.code_digest import core_digest
from orchestrator.cli.common import DatabaseOption, JsonOption
from orchestrator.cli.option_groups import CommandGroup
from orchestrator.cli.output import counted, note, print_json, print_table, say, suggest, when
from orchestrator.code.differences import diff_lines, diff_size
from orchestrator.errors import UsageError
from orchestrator.files.given_path import expanded
from orchestrator.notify.commands import user_name

if TYPE_CHECKING:
    from orchestrator.code.names import NamedCode

CodeName = Annotated[str, typer.Argument(metavar="CODE", help="A digest or its first digits, a run's number, or here.")]


def list_(database: DatabaseOption, as_json: JsonOption = False) -> None:
    """List the codes whose sources are kept, with the runs that each computed."""
    here = core_digest()
    with database.read() as store:
        kept = {record.digest: record for record in store.codes()}
        runs, equal, declared = store.runs_by_code(), store.same_code(), store.declared_same()
    digests = [*kept, *sorted(runs.keys() - kept.keys())]
    same_as = {one: [other for other in digests if other != one and equal.equal(one, other)] for one in digests}
    if as_json:
        listed = [
            {
                "digest": digest,
                "here": digest == here,
                "first_at": kept[digest].first_at if digest in kept else None,
                "git_commit": kept[digest].git_commit if digest in kept else None,
                "files": kept[digest].num_files if digest in kept else None,
                "bytes": kept[digest].num_bytes if digest in kept else None,
                "runs": runs.get(digest, 0),
                "same_as": same_as[digest],
            }
            for digest in digests
        ]
        print_json({"here": here, "codes": listed, "declared_same": declared})
        return
    rows = []
    for digest in digests:
        record = kept.get(digest)
        size = f"{counted(record.num_files, 'file')}, {record.num_bytes:,} bytes" if record else "not kept"
        commit, first = (record.git_commit, when(record.first_at)) if record else ("", "")
        mark = "here" if digest == here else ""
        rows.append([digest, mark, first, commit, size, str(runs.get(digest, 0)), " ".join(same_as[digest])])
    print_table(["code", "", "first used", "git commit", "sources", "runs", "same as"], rows)
    if here not in digests:
        say(f"the code here is {here}; no run in this database has it")
    for first, second, why in declared:
        say(f"declared the same: {first} and {second}: {why}")


def diff(
    first: CodeName,
    database: DatabaseOption,
    second: Annotated[str, typer.Argument(metavar="CODE", help="The same; default: the code on disk.")] = "here",
) -> None:
    """Show how two codes differ, as a unified diff.

    hlbq code diff 3 12

    compares the codes of runs 3 and 12.
    """
    from orchestrator.code.names import find_code

    with database.read() as store:
        print_diff(find_code(store, first), find_code(store, second))


def print_diff(before: "NamedCode", after: "NamedCode") -> None:
    """Print the diff of two codes on stdout, and its size on stderr."""
    say(*diff_lines(before.sources, after.sources))
    sys.stdout.flush()
    note(f"{before.digest} to {after.digest}: {diff_size(before.sources, after.sources)}")
    if before.digest == after.digest and before.sources != after.sources:
        note("Python sees no difference: they differ in comments or layout only.")


def checkout(
    name: CodeName,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder to write hlbgpt_core into; created if missing.")
    ],
    database: DatabaseOption,
) -> None:
    """Write the sources of a code into FOLDER/hlbgpt_core."""
    from orchestrator.code.archive import write_sources  # which loads tarfile
    from orchestrator.code.names import find_code

    folder = expanded(folder)
    with database.read() as store:
        code = find_code(store, name)
        package = write_sources(code.sources, folder)
        say(f"{package}: {counted(len(code.sources), 'file')} of code {code.digest}")
        suggest(f"To train with it: PYTHONPATH={shlex.quote(str(folder.absolute()))} hlbq worker", store)


def same(
    first: CodeName,
    second: CodeName,
    why: Annotated[str, typer.Option("--why", help="How you know, for others.", metavar="TEXT")],
    database: DatabaseOption,
) -> None:
    """Declare that two codes compute the same numbers. Runs of one may then resume with the other, and be compared.

    hlbq code same 3c3b3434 here --why "replay agrees"
    """
    from orchestrator.code.names import find_digest

    if not why.strip():
        raise UsageError("--why is empty", 'Say how you know: --why "replay agrees"')
    with database.write() as store:
        digests = find_digest(store, first), find_digest(store, second)
        if digests[0] == digests[1]:
            raise UsageError(f"both are code {digests[0]}", "Nothing was declared.")
        freed = store.declare_same(*digests, why=why, actor=user_name())
    say(f"declared the same: {digests[0]} and {digests[1]}")
    if freed:
        say(f"{counted(freed, 'run')} no longer held")


code = CommandGroup("code", "The code that computed runs: list, diff, checkout, same.", (list_, diff, checkout, same))
