"""Exports: columns, cells, layouts and formats; appending; and the CSV that `-c` keeps up to date."""

import ast
import csv
import fcntl
import json
import math
import os
import resource
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest
from sqlalchemy import update

from hlbgpt_core.points import Split
from orchestrator.cli.main import run_program
from orchestrator.errors import ExportError
from orchestrator.export.blocks import Layout, Selection
from orchestrator.export.columns import run_columns
from orchestrator.export.csv_table import read_csv_rows
from orchestrator.export.frames import load
from orchestrator.export.writing import export, export_to_stdout, rewrite_sweep_csv
from orchestrator.plots.figures import plot_curves
from orchestrator.queue.attempts import Ending
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason
from orchestrator.queue.sweeps import CsvTarget, SweepRecord
from orchestrator.store import OpenMode, Store, open_store
from orchestrator.store.tables import runs
from tests.ready_processes import ready_context
from tests.sample_sweep import received, register, sample_point, sample_points, submit_sweep, work

pytestmark = pytest.mark.reader

# As the original tool's README names them.
ORIGINAL_COLUMNS = """last_val_loss model_scale depth width num_params num_non_embedding_params num_heads linear_value
seed run_num train_loss val_loss train_acc val_acc train_pplx val_pplx grad_norm cumulative_time_train
cumulative_time_val tokens_seen_train tokens_seen_val epochs_train epochs_val batch_sizes_train batch_sizes_val
seq_lengths_train seq_lengths_val lrs_train lrs_val weight_decays_train weight_decays_val""".split()


def everything(layout: Layout = Layout.RUNS) -> Selection:
    return Selection(runs=RunFilter(), layout=layout)


def raw_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_run_is_a_row_in_the_design_s_columns(store: Store, tmp_path: Path) -> None:
    submit_sweep(store, [{"num_heads": 1}, {"num_heads": 2, "linear_value": True}], seeds=[7])
    worker = register(store)
    points = sample_points(4)
    work(store, worker, points)
    work(store, worker, points)

    path = tmp_path / "results.csv"
    assert export(store, path, everything()) == 2

    first, second = raw_rows(path)
    assert list(first)[: len(ORIGINAL_COLUMNS)] == ORIGINAL_COLUMNS
    assert list(first) == [column.name for column in run_columns()]
    val = [point for point in points if point.split is Split.VAL]
    train = [point for point in points if point.split is Split.TRAIN]
    assert float(first["last_val_loss"]) == val[-1].loss
    assert first["linear_value"] == "false" and second["linear_value"] == "true"
    assert first["seed"] == "7" and first["run_num"] == "1" and first["state"] == "completed"
    assert first["data_fingerprint"] == "f00d" and first["resolved_precision"] == "float32"
    for read in (json.loads, ast.literal_eval):
        assert read(first["train_loss"]) == [point.loss for point in train]
        assert read(first["val_loss"]) == [point.loss for point in val]
        assert read(first["tokens_seen_val"]) == [point.tokens_seen for point in val]
    assert ast.literal_eval(first["grad_norm"]) == [1.5] * len(train)


def test_only_runs_with_points_unless_all_are_wanted(store: Store, tmp_path: Path) -> None:
    submit_sweep(store, seeds=[1, 2, 3])
    work(store, register(store), sample_points(2))
    path = tmp_path / "results.csv"
    assert export(store, path, everything()) == 1
    assert export(store, path, Selection(runs=RunFilter(), with_pointless=True)) == 3
    assert [row["state"] for row in raw_rows(path)] == ["completed", "pending", "pending"]
    assert raw_rows(path)[1]["val_loss"] == "[]"


def test_what_is_not_finite_reads_as_infinite_in_lists_and_keeps_its_kind_in_points(
    store: Store, tmp_path: Path
) -> None:
    submit_sweep(store)
    losses = [4.0, math.nan, math.inf, -math.inf]
    points = [sample_point(Split.VAL, step, loss=loss) for step, loss in enumerate(losses, start=1)]
    work(store, register(store), points, reason=Reason.DIVERGED)

    path = tmp_path / "results.csv"
    export(store, path, everything())
    (row,) = raw_rows(path)
    for read in (json.loads, ast.literal_eval):
        assert read(row["val_loss"]) == [4.0, math.inf, math.inf, -math.inf]
    assert row["last_val_loss"] == "-inf"

    export(store, path, everything(Layout.POINTS))
    assert [row["loss"] for row in raw_rows(path)] == ["4.0", "nan", "inf", "-inf"]
    assert [row["step"] for row in raw_rows(path)] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("reason", [Reason.PRUNED, Reason.DIVERGED, None])
def test_a_loss_on_the_way_is_no_last_one(store: Store, tmp_path: Path, reason: Reason | None) -> None:
    """A mean over it would be one over less training."""
    submit_sweep(store, [{"depth": 2}])
    work(store, register(store), [sample_point(Split.VAL, 1, loss=4.0)], reason=reason)
    export(store, tmp_path / "results.csv", everything())
    (row,) = raw_rows(tmp_path / "results.csv")
    assert (json.loads(row["val_loss"]), row["last_val_loss"]) == ([4.0], "")


def test_a_script_for_the_original_columns_plots_a_run_that_diverged_before_its_first_evaluation(
    store: Store, tmp_path: Path
) -> None:
    submit_sweep(store, [{"depth": 2}, {"depth": 4}])
    worker = register(store)
    work(store, worker, sample_points(4))
    work(store, worker, [sample_point(Split.TRAIN, 1, loss=math.nan)], reason=Reason.DIVERGED)
    path = tmp_path / "results.csv"
    export(store, path, Selection(runs=RunFilter()))
    table = pandas.read_csv(path)
    for name in table.columns[10:31]:
        table[name] = table[name].apply(ast.literal_eval)
    for split in ("train", "val"):
        for _, row in table.iterrows():
            lengths = {len(row[name]) for name in (f"{split}_loss", f"tokens_seen_{split}", f"epochs_{split}")}
            assert len(lengths) == 1
    assert table.val_loss[1] == [] and table.train_loss[1] == [math.inf] and math.isnan(table.last_val_loss[1])


def test_the_points_layout_has_a_row_a_point_with_users_metrics(store: Store, tmp_path: Path) -> None:
    submit_sweep(store, seeds=[1, 2])
    worker = register(store)
    work(store, worker, [sample_point(Split.TRAIN, 1, loss=5.0, extra={"lr_norms": 0.5})])
    # A metric that the first run does not have: the header must name it all the same.
    work(store, worker, [sample_point(Split.VAL, 1, loss=4.0, extra={"z_loss": math.inf})])

    path = tmp_path / "points.csv"
    assert export(store, path, everything(Layout.POINTS)) == 2
    first, second = raw_rows(path)
    assert list(first)[:4] == ["run_id", "split", "step", "loss"]
    assert (first["split"], first["lr_norms"], first["z_loss"]) == ("train", "0.5", "")
    assert (second["split"], second["lr_norms"], second["z_loss"]) == ("val", "", "inf")

    export(store, path, everything())
    first, second = raw_rows(path)
    assert (first["train_lr_norms"], first["val_z_loss"]) == ("[0.5]", "[]")
    assert (second["train_lr_norms"], second["val_z_loss"]) == ("[]", "[1e999]")


def test_the_only_point_of_a_table_is_no_text(store: Store, tmp_path: Path) -> None:
    submit_sweep(store, [{"num_heads": 1}], seeds=[7])
    work(store, register(store), [sample_point(Split.VAL, 1, loss=-5.0, extra={"own": -0.5})])
    export(store, tmp_path / "points.csv", everything(Layout.POINTS))
    [row] = raw_rows(tmp_path / "points.csv")
    assert (row["loss"], row["own"]) == ("-5.0", "-0.5")


def test_points_of_several_codes_each_name_their_own(store: Store, tmp_path: Path) -> None:
    submit_sweep(store, [{"num_heads": 1}, {"num_heads": 2}], seeds=[7])
    worker = register(store)
    work(store, worker, sample_points(4))
    [run] = store.runs(RunFilter(run_ids=(1,)))
    with store._write() as connection:
        connection.execute(update(runs).where(runs.c.id == run.id).values(code='[["aaaa",0,"1234"],["bbbb",20,""]]'))
    work(store, worker, sample_points(4))
    export(store, tmp_path / "points.csv", everything(Layout.POINTS))
    rows = [row for row in raw_rows(tmp_path / "points.csv") if row["run_id"] == "1"]
    assert {(int(row["step"]) > 20, row["code"], row["git_commit"]) for row in rows} == {
        (False, "aaaa", "1234"),
        (True, "bbbb", ""),
    }


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("layout", [Layout.RUNS, Layout.POINTS])
def test_every_format_holds_the_same_numbers(store: Store, tmp_path: Path, ending: str, layout: Layout) -> None:
    submit_sweep(store, [{}, {"num_heads": 2}])
    worker = register(store)
    work(store, worker, sample_points(4))
    work(store, worker, sample_points(6, start=4.0))
    path = tmp_path / f"table.{ending}"
    export(store, path, everything(layout))

    frame = load(path)
    if layout is Layout.RUNS:
        assert list(frame["num_heads"]) == [1, 2]
        assert [len(losses) for losses in frame["train_loss"]] == [4, 6]
        assert frame["train_loss"][1][0] == 4.0 and frame["linear_value"][0] is not None
    else:
        assert list(frame["split"][:6]) == ["train"] * 4 + ["val"] * 2
        assert frame["loss"][0] == 5.0


def test_load_reads_a_database_as_it_reads_its_csv(tmp_path: Path) -> None:
    database, path = tmp_path / "hlbq.db", tmp_path / "results.csv"
    with open_store(str(database), mode=OpenMode.CREATE) as store:
        submit_sweep(store, [{}, {"num_heads": 2}], seeds=[1, 2])
        worker = register(store)
        for start in (5.0, 4.0, 4.5, 3.5):
            work(store, worker, sample_points(4, start=start))
        export(store, path, everything())
    from_database, from_csv = load(database), load(path)
    assert list(from_database.columns) == list(from_csv.columns)
    for name in ("last_val_loss", "train_loss", "tokens_seen_val", "uid", "linear_value", "max_steps", "dataset"):
        assert list(from_database[name]) == list(from_csv[name]), name
    means = from_csv.groupby("num_heads").last_val_loss.mean()
    assert means[2] < means[1]
    assert len(load(database, layout="points")) == 4 * 6


@pytest.mark.parametrize("layout", [Layout.RUNS, Layout.POINTS])
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_load_reads_every_format_to_the_last_digit(tmp_path: Path, layout: Layout, ending: str) -> None:
    database, path = tmp_path / "hlbq.db", tmp_path / f"table.{ending}"
    awkward = [5.9627509117126465, 2.5902013555169106, 0.1 + 0.2]
    with open_store(str(database), mode=OpenMode.CREATE) as store:
        submit_sweep(store, seeds=[1, 2])
        worker = register(store)
        work(store, worker, [sample_point(Split.TRAIN, n, loss=loss) for n, loss in enumerate(awkward, start=1)])
        work(store, worker, [sample_point(Split.VAL, 5, loss=math.inf, extra={"own": math.nan})])
        export(store, path, everything(layout))
    from_database, from_file = load(database, layout=layout), load(path)
    # Lists of a CSV and of JSON have no word for what is not a number.
    lists = {"val_own"} if ending != "parquet" else set()
    assert list(from_file.columns) == list(from_database.columns)
    for name in from_database.columns:
        if from_database[name].isna().all():  # parquet knows of what kind the missing ones are
            assert from_file[name].isna().all(), name
            continue
        assert from_file[name].dtype == from_database[name].dtype, name
        if name not in lists:
            assert repr(from_file[name].tolist()) == repr(from_database[name].tolist()), name


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_what_was_never_recorded_is_not_what_became_infinite(tmp_path: Path, ending: str) -> None:
    """Both were 1e999, so a line of a figure from a table ended as that of a run that diverged."""
    database, path = tmp_path / "hlbq.db", tmp_path / f"table.{ending}"
    with open_store(str(database), mode=OpenMode.CREATE) as store:
        submit_sweep(store)
        own = [{"own": 0.5}, {"own": math.inf}, {}, {"own": math.nan}]
        points = [sample_point(Split.VAL, step, loss=4.0, extra=extra) for step, extra in enumerate(own, start=1)]
        work(store, register(store), points)
        export(store, path, everything())
    numbers = load(path).val_own[0]
    assert numbers[:3] == [0.5, math.inf, None]
    assert math.isnan(numbers[3]) or (ending != "parquet" and numbers[3] == math.inf)  # lists of texts have no nan


def test_blank_lines_of_a_csv_are_passed_over(tmp_path: Path) -> None:
    """Editors and joined files leave them at the end."""
    path = tmp_path / "table.csv"
    path.write_text('seed,val_loss\n1,"[3.0]"\n\n2,"[2.0]"\n\n\n')
    assert [row["seed"] for row in read_csv_rows(path)] == [1, 2]


def test_a_file_of_json_that_is_no_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    for text in ('{"seed": 1}\n{"seed":', "[1, 2]\n", "\xff"):
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(ExportError, match=r"table\.jsonl' can't be read"):
            load(path)
    with pytest.raises(ExportError, match="there is no layout 'rows'"):
        load(path, layout="rows")


def test_texts_that_look_like_formulas_are_disarmed_and_come_back(store: Store, tmp_path: Path) -> None:
    messages = ["=1+1", "+2", "-3", "@x", "\tt", "\rr", "'=quoted", "'plain", 'a "quote", and\r\nlines\n', "-5e3"]
    submit_sweep(store, seeds=list(range(len(messages))))
    worker = register(store)
    for message in messages:
        work(store, worker, sample_points(2), reason=Reason.DIVERGED, error_message=message)
    path = tmp_path / "results.csv"
    export(store, path, everything())

    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert all(row["error_message"][0] not in "=+-@\t\r" for row in rows)
    assert [row["error_message"] for row in read_csv_rows(path)] == messages
    assert all(row["depth"] == "2" for row in rows)


def test_appending_keeps_other_runs_and_replaces_its_own(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    first = submit_sweep(store, seeds=[1])
    worker = register(store)
    work(store, worker, [sample_point(Split.TRAIN, 1, loss=5.0, extra={"old_metric": 1.0})])
    export(store, path, Selection(runs=RunFilter(sweep_ids=(first.id,))))
    second = submit_sweep(store, [{"num_heads": 2}], seeds=[1])
    work(store, worker, sample_points(2))
    chosen = Selection(runs=RunFilter(sweep_ids=(second.id,)))
    export(store, path, chosen, append=True)
    export(store, path, chosen, append=True)

    rows = list(read_csv_rows(path))
    assert [(row["sweep"], row["num_heads"], row["train_old_metric"]) for row in rows] == [
        (first.id, 1, [1.0]),
        (second.id, 2, None),
    ]


def test_a_path_may_begin_at_the_home_folder(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no shell wrote it in full. With --append the file was taken for missing, and its rows were lost."""
    monkeypatch.setenv("HOME", str(tmp_path))
    submit_sweep(store, seeds=[1, 2])
    work(store, register(store), sample_points(2))
    work(store, register(store), sample_points(2))
    for number in (1, 2):
        assert export(store, "~/a.csv", Selection(runs=RunFilter(run_ids=(number,))), append=True) == 1
    assert len(raw_rows(tmp_path / "a.csv")) == len(load("~/a.csv")) == 2
    assert plot_curves("~/a.csv").runs == 2
    for ending in ("jsonl", "parquet"):
        export(store, f"~/a.{ending}", everything())
        assert len(load(f"~/a.{ending}")) == 2


def test_nothing_is_appended_to_a_csv_of_something_else(store: Store, tmp_path: Path) -> None:
    submit_sweep(store)
    work(store, register(store), sample_points(2))
    path = tmp_path / "shopping.csv"
    path.write_text("item,price\nbread,3\n")
    with pytest.raises(ExportError, match="not a table of runs"):
        export(store, path, everything(), append=True)
    assert path.read_text() == "item,price\nbread,3\n"
    with pytest.raises(ExportError, match="append needs a CSV"):
        export(store, tmp_path / "points.csv", everything(Layout.POINTS), append=True)


def test_a_hint_names_no_file_that_would_be_read_as_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-x.csv").touch(mode=0o400)
    with open_store("hlbq.db", mode=OpenMode.CREATE) as store:
        submit_sweep(store)
        work(store, register(store), sample_points(2))
    for line, hint in {
        "export -- -x.csv": f"chmod u+w {tmp_path}/-x.csv, or ",
        "run --depth 1 --width 64 -o=-x.xlsx": "for instance results.csv.",
        "submit -c --depth 1 --width 64 --logfile=-x.parquet": "Use --logfile=-x.csv;",
    }.items():
        assert run_program(line.split()) == 2
        assert hint in capsys.readouterr().err


def test_a_file_that_can_not_be_written_is_named(store: Store, tmp_path: Path) -> None:
    submit_sweep(store)
    work(store, register(store), sample_points(2))
    folder = tmp_path / "results.csv"
    folder.mkdir()
    with pytest.raises(ExportError, match="is a folder"):
        export(store, folder, everything())
    (tmp_path / "folder").mkdir()
    with pytest.raises(ExportError, match="folder' is a folder"):  # and not: it has no ending
        export(store, tmp_path / "folder", everything())
    with pytest.raises(ExportError, match="there is no folder"):
        export(store, tmp_path / "missing" / "results.csv", everything())
    with pytest.raises(ExportError) as refused:
        export(store, tmp_path / "my tables" / "results.csv", everything())
    assert refused.value.hint == f"Make it first: mkdir -p '{tmp_path}/my tables'"
    with pytest.raises(ExportError, match="is not a table format") as refused:
        export(store, tmp_path / "results.xlsx", everything())
    assert refused.value.hint == "Use one of .csv, .jsonl, .parquet, for instance results.csv."
    read_only = tmp_path / "old.csv"
    read_only.write_text("old")
    read_only.chmod(0o444)
    with pytest.raises(ExportError, match="read-only"):
        export(store, read_only, everything())
    assert read_only.read_text() == "old"
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    with pytest.raises(ExportError, match="can't be written: permission denied"):  # root is told too
        export(store, locked / "results.csv", everything())
    assert not list(locked.iterdir())


def test_a_failed_export_leaves_the_old_file_whole(store: Store, tmp_path: Path) -> None:
    submit_sweep(store, seeds=list(range(3)))
    worker = register(store)
    for _ in range(3):
        work(store, worker, sample_points(200))
    path = tmp_path / "results.csv"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        with pytest.raises(ExportError, match="can't be written: file too large"):
            export(store, path, everything())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir() if "results" in entry.name] == ["results.csv"]


@pytest.mark.parametrize("options", [[], ["--append"], ["--layout", "points"]])
def test_where_no_run_matches_nothing_is_written(
    tmp_path: Path, options: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    database, path = str(tmp_path / "hlbq.db"), tmp_path / "results.csv"
    with open_store(database, mode=OpenMode.CREATE) as store:
        submit_sweep(store)
        work(store, register(store), sample_points(2))
        export(store, path, everything())
    before = path.read_text()
    assert run_program(["export", str(path), "--db", database, "--where", "depth=17", *options]) == 2
    assert "no run matches depth=17\n" in capfd.readouterr().err and path.read_text() == before
    assert run_program(["export", "-", "--db", database, "--run", "9"]) == 2
    shown = capfd.readouterr()
    assert "there is no run 9" in shown.err and shown.out == ""


def test_what_killed_exports_left_is_removed_by_the_next(store: Store, tmp_path: Path) -> None:
    submit_sweep(store)
    work(store, register(store), sample_points(2))
    path = tmp_path / "res[1].csv"
    orphan, written, new, other = (
        tmp_path / name
        for name in (
            ".res[1].csv.17-0123abcd.tmp",
            ".res[1].csv.18-0123abcd.tmp",
            ".res[1].csv.19-0123abcd.tmp",
            ".res1.csv.17-0123abcd.tmp",
        )
    )
    for file in (orphan, written, new, other):
        file.write_text("half a table")
        if file is not new:
            os.utime(file, (1e9, 1e9))
    with written.open("r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        export(store, path, everything())
    assert not orphan.exists() and written.exists() and new.exists() and other.exists()
    assert len(raw_rows(path)) == 1


def test_the_umask_decides_on_the_mode_and_links_stay_links(store: Store, tmp_path: Path) -> None:
    submit_sweep(store)
    work(store, register(store), sample_points(2))
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    target.write_text("old")
    link.symlink_to(target)
    before = os.umask(0o027)
    try:
        export(store, link, everything())
    finally:
        os.umask(before)
    assert link.is_symlink() and len(raw_rows(target)) == 1
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_stdout_gets_the_table(store: Store, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    submit_sweep(store)
    work(store, register(store), sample_points(2))
    assert export_to_stdout(store, everything()) == 1
    header, row = capfdbinary.readouterr().out.decode().splitlines()
    assert header.startswith("last_val_loss,model_scale,depth") and '"[5.0, ' in row


def csv_sweep(store: Store, path: Path, *, append: bool = False, seeds: tuple[int, ...] = (1, 2)) -> SweepRecord:
    return submit_sweep(store, seeds=seeds, csv=CsvTarget(path=str(path), append=append, host="here"))


def test_the_csv_of_a_sweep_replaces_an_older_file_at_its_first_row_and_not_before(
    store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "results.csv"
    path.write_text("of an earlier sweep")
    sweep = csv_sweep(store, path)
    worker = register(store)
    assert rewrite_sweep_csv(store, sweep) == 0
    assert path.read_text() == "of an earlier sweep"
    work(store, worker, sample_points(2), reason=None)  # still running: a reader of the CSV shall not see half of it
    assert rewrite_sweep_csv(store, sweep) == 0
    claim = store.claim(worker)
    assert claim is not None
    store.finish(claim.lease, Ending(reason=Reason.FINISHED))
    assert rewrite_sweep_csv(store, sweep) == 1
    work(store, worker, sample_points(4))
    assert rewrite_sweep_csv(store, sweep) == 2
    assert [row["seed"] for row in raw_rows(path)] == ["1", "2"]


def test_with_append_other_sweeps_rows_stay(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    worker = register(store)
    for seeds in ((1, 2), (3,)):
        sweep = csv_sweep(store, path, append=True, seeds=seeds)
        for _ in seeds:
            work(store, worker, sample_points(2))
            rewrite_sweep_csv(store, sweep)
            rewrite_sweep_csv(store, sweep)
    assert [row["seed"] for row in raw_rows(path)] == ["1", "2", "3"]


def _finish_and_rewrite(location: str, sweep_id: int, pid: int) -> None:
    with open_store(location, mode=OpenMode.WRITE) as store:
        worker = register(store, pid=pid)
        while (claim := store.claim(worker, sweep_ids=(sweep_id,))) is not None:
            store.finish(claim.lease, Ending(reason=Reason.FINISHED), points=sample_points(6))
            sweep = store.sweep(sweep_id)
            assert sweep is not None
            rewrite_sweep_csv(store, sweep)


@pytest.mark.parametrize("append", [False, True])
def test_two_workers_of_two_sweeps_lose_no_row(tmp_path: Path, append: bool) -> None:
    location, path = str(tmp_path / "hlbq.db"), tmp_path / "results.csv"
    with open_store(location, mode=OpenMode.CREATE) as store:
        sweeps = [csv_sweep(store, path, append=append, seeds=tuple(range(6))).id for _ in range(2 if append else 1)]
    context = ready_context()
    workers = [
        context.Process(target=_finish_and_rewrite, args=(location, sweeps[index % len(sweeps)], 100 + index))
        for index in range(4)
    ]
    for process in workers:
        process.start()
    for process in workers:
        process.join(timeout=120)
    assert [process.exitcode for process in workers] == [0] * 4
    rows = list(read_csv_rows(path))
    assert sorted((row["sweep"], row["seed"]) for row in rows) == [(s, n) for s in sweeps for n in range(6)]
    assert all(len(row["train_loss"]) == 6 for row in rows)


def test_a_lock_that_is_not_given_up_is_named(store: Store, open_again: Callable[[], Store], tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    sweep = csv_sweep(store, path)
    with (tmp_path / ".results.csv.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ExportError, match="locked by another process"):
            rewrite_sweep_csv(open_again(), sweep, lock_timeout_seconds=0.0)


def test_the_store_gives_curves_by_run_and_split(store: Store) -> None:
    submit_sweep(store, seeds=[1, 2])
    worker = register(store)
    work(store, worker, sample_points(4))
    work(store, worker, [sample_point(Split.VAL, 1, loss=math.nan, extra={"own": 1.0})])
    ids = [run.id for run in store.runs(RunFilter())]
    curves = list(store.curves(ids))
    assert [(curve.run_id, curve.split, len(curve)) for curve in curves] == [
        (ids[0], Split.TRAIN, 4),
        (ids[0], Split.VAL, 2),
        (ids[1], Split.VAL, 1),
    ]
    assert math.isnan(curves[2]["loss"][0]) and list(curves[2]["own"]) == [1.0]
    assert [curve.split for curve in store.curves(ids, Split.VAL)] == [Split.VAL, Split.VAL]


@pytest.mark.parametrize("layout", [Layout.RUNS, Layout.POINTS])
def test_the_point_of_the_test_is_in_both_layouts(store: Store, tmp_path: Path, layout: Layout) -> None:
    submit_sweep(store, [{"test_tokens": 2048}], seeds=[7])
    work(store, register(store), [*sample_points(4), sample_point(Split.TEST, 30, loss=2.5, extra={"own": 1.5})])
    path = tmp_path / "results.csv"
    export(store, path, everything(layout))
    rows = raw_rows(path)
    if layout is Layout.RUNS:
        (row,) = rows
        assert (row["test_loss"], row["test_acc"], row["steps_test"]) == ("[2.5]", "[0.3]", "[30]")
        assert row["test_own"] == "[1.5]" and row["tokens_seen_test"] == "[30000]"
        assert list(row)[: len(ORIGINAL_COLUMNS)] == ORIGINAL_COLUMNS
        assert row["evaluation_fingerprint"] and not row["test_fingerprint"]
    else:
        assert [(row["step"], row["loss"]) for row in rows if row["split"] == "test"] == [("30", "2.5")]


def test_the_points_layout_ends_with_when_a_point_was_received(store: Store, tmp_path: Path) -> None:
    submit_sweep(store, seeds=[1, 2])
    worker = register(store)
    own = sample_point(Split.TRAIN, 1, loss=5.0, extra={"lr_norms": 0.5})
    work(store, worker, received([own], began=1000.0))
    work(store, worker, [own])
    path = tmp_path / "points.csv"
    export(store, path, everything(Layout.POINTS))
    timed, untimed = raw_rows(path)
    assert list(timed)[-2:] == ["lr_norms", "recorded_at"]
    assert (timed["recorded_at"], untimed["recorded_at"]) == ("1002.5", "")
