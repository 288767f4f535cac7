"""What to ask of Slurm: times, further parameters, the script, and a database's name without its password."""

from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.launch.reachable_database import check_shared, secrets_of, warning_if_not_shared
from orchestrator.launch.slurm_cluster import _refused
from orchestrator.launch.slurm_order import (
    ArrayOrder,
    check_clashes,
    checked_memory,
    extra_parameters,
    minutes_of,
    script_of,
)
from orchestrator.store import parse_location


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("240", 240), ("4:00:00", 240), ("1:30", 2), ("0:30", 1), ("2-0", 2880), ("1-1:30", 1530), ("1-0:0:1", 1441)],
)
def test_times_are_read_as_slurm_reads_them(text: str, minutes: int) -> None:
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["", "4h", "1:2:3:4", "-5", "0", "0:00:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is zero|not a time"):
        minutes_of(text)


def test_further_parameters() -> None:
    assert extra_parameters(["qos=high", "--exclusive", "mail_type=END"]) == {
        "qos": "high",
        "exclusive": True,
        "mail_type": "END",
    }


@pytest.mark.parametrize("word", ["", "a b", "qos=", "qos=a\nrm -rf", "=x", "time=5", "--array=1", "job_name=x", "p=x"])
def test_further_parameters_that_would_break_the_script_are_refused(word: str) -> None:
    with pytest.raises(UsageError, match="--sbatch"):
        extra_parameters([word])


def test_memory() -> None:
    assert [checked_memory(text) for text in ("", "32G", "4000")] == ["", "32G", "4000"]
    with pytest.raises(UsageError, match="--mem lots"):
        checked_memory("lots")


def order(**changes: object) -> ArrayOrder:
    given = {
        "name": "hlbq-1",
        "python": "python",
        "workers": 8,
        "minutes": 240,
        "seconds_before_end": 120,
        "max_requeues": 9,
    }
    return ArrayOrder(**{**given, **changes})  # type: ignore[arg-type]


def test_the_script_asks_for_an_array_with_a_signal_before_its_end() -> None:
    made = order(
        gpus_per_worker=2,
        gpu_type="a100",
        mem="32G",
        extra={"qos": "high", "cpus_per_task": "7"},
        setup=("module load cuda",),
    )
    lines = script_of(made, Path("/shared/launch")).splitlines()
    for line in (
        "#SBATCH --array=0-7%8",
        "#SBATCH --gpus-per-node=a100:2",
        "#SBATCH --mem=32G",
        "#SBATCH --cpus-per-task=7",
        "#SBATCH --qos=high",
        "#SBATCH --requeue",
        "#SBATCH --signal=USR1@120",
        "#SBATCH --time=240",
        "export SUBMITIT_PREEMPT_SIGNAL=USR1",
        "module load cuda",
    ):
        assert line in lines
    assert sum("cpus-per-task" in line for line in lines) == 1
    assert lines.index("module load cuda") < next(n for n, line in enumerate(lines) if line.startswith("srun"))


def test_one_worker_is_no_array_and_without_gpus_none_is_asked_for() -> None:
    script = script_of(order(workers=1), Path("/shared/launch"))
    assert "--array" not in script and "gpu" not in script


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("array=0-3", "hlbq sets array itself.*--at_once"),
        ("no-requeue", "hlbq sets requeue itself.*--max_requeues 0"),
        ("ntasks=4", "hlbq sets ntasks itself.*one worker"),
    ],
)
def test_what_hlbq_sets_itself_is_refused_with_the_option_to_use(word: str, reason: str) -> None:
    with pytest.raises(UsageError, match=f"(?s){reason}"):
        extra_parameters([word])


@pytest.mark.parametrize(
    ("changes", "both"),
    [
        ({"mem": "4G", "extra": {"mem_per_cpu": "1G"}}, "--mem 4G and --sbatch mem_per_cpu=1G"),
        ({"mem": "4G", "extra": {"mem": "1G"}}, "--mem 4G and --sbatch mem=1G"),
        ({"partition": "a", "extra": {"partition": "b"}}, "--partition a and --sbatch partition=b"),
        ({"gpu_type": "a100", "extra": {"gres": "gpu:1"}, "gpus_per_worker": 1}, "--gpu_type a100 and --sbatch gres"),
        ({"gpus_per_worker": 0, "extra": {"gpus": "1"}}, "--gpus_per_worker 0 and --sbatch gpus=1"),
        ({"gpus_per_worker": 2, "extra": {"gres": "x:1,gpu:1"}}, "--gpus_per_worker 2 and --sbatch gres"),
    ],
)
def test_what_is_asked_for_twice_is_refused(changes: dict[str, object], both: str) -> None:
    with pytest.raises(UsageError, match=both):
        check_clashes(order(**changes))


def test_what_sbatch_is_asked_for_replaces_our_own() -> None:
    extra = extra_parameters(["gres=gpu:a100:2", "requeue", "wckey=mine", "cpus-per-gpu=4", "mem=8G"])
    made = order(gpus_per_worker=1, extra=extra)
    check_clashes(made)
    lines = [line for line in script_of(made, Path("/shared/launch")).splitlines() if line.startswith("#SBATCH")]
    asked = [line for line in lines if any(word in line for word in ("gpu", "requeue", "wckey", "cpus", "mem"))]
    assert asked == [f"#SBATCH --{words}" for words in (
        "cpus-per-gpu=4", "gres=gpu:a100:2", "mem=8G", "requeue", "wckey=mine"
    )]  # fmt: skip


def test_an_array_may_be_throttled_and_run_in_a_container() -> None:
    inside = "apptainer exec --nv hlbq.sif python"
    script = script_of(order(at_once=3, python=inside), Path("/shared/launch"))
    assert "#SBATCH --array=0-7%3" in script and f" {inside} -u -m submitit" in script and "wckey" not in script
    assert "#SBATCH --array=0-7%8" in script_of(order(at_once=9), Path("/shared/launch"))


@pytest.mark.parametrize(
    ("url", "name", "secrets"),
    [
        ("postgresql://me:s%40x@db/q", "postgresql://me@db/q", {"PGPASSWORD": "s@x"}),
        (
            "postgresql://me@db/q?password=pw&sslmode=require",
            "postgresql://me@db/q?sslmode=require",
            {"PGPASSWORD": "pw"},
        ),
        ("postgresql://db/q", "postgresql://db/q", {}),
    ],
)
def test_jobs_are_told_the_database_without_its_password(url: str, name: str, secrets: dict[str, str]) -> None:
    location = parse_location(url)
    assert (location.display, secrets_of(location)) == (name, secrets)


def test_a_secret_that_cannot_go_another_way_is_refused() -> None:
    with pytest.raises(UsageError, match="sslpassword"):
        secrets_of(parse_location("postgresql://db/q?sslpassword=x"))


def test_sqlite_is_refused_with_the_way_out() -> None:
    with pytest.raises(UsageError, match="SQLite file") as refused:
        check_shared(parse_location("/home/me/hlbq.db"))
    assert "hlbq db copy" in refused.value.hint and "postgresql://" in refused.value.hint


def test_a_host_that_each_node_takes_for_itself() -> None:
    assert warning_if_not_shared(parse_location("postgresql://localhost/q"))
    assert warning_if_not_shared(parse_location("postgresql:///q"))
    for host in ("LOCALHOST", "127.0.1.1", "[::1]"):
        assert warning_if_not_shared(parse_location(f"postgresql://{host}/q"))
    assert warning_if_not_shared(parse_location("postgresql:///q?host=/var/run/postgresql"))
    assert not warning_if_not_shared(parse_location("postgresql://dbhost/q"))
    assert not warning_if_not_shared(parse_location("postgresql:///q?host=dbhost"))


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (
            "sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed: "
            "Invalid partition name specified",
            "Slurm refused: invalid partition specified: nope; "
            "Batch job submission failed: Invalid partition name specified",
            "--partition",
        ),
        (
            "sbatch: unrecognized option '--foo'\nTry \"sbatch --help\" for more information",
            "Slurm refused: sbatch: unrecognized option '--foo'",
            "--dry_run",
        ),
        ("", "Slurm refused: it gave no reason", "--dry_run"),
        (
            "squeue: fatal: Could not establish a configuration source",
            "Slurm refused: squeue: fatal: Could not establish a configuration source",
            "belongs to no Slurm cluster",
        ),
    ],
)
def test_a_refusal_is_told_in_slurms_words_with_a_way_out(words: str, message: str, hint: str) -> None:
    error = _refused(words)
    assert error.message == message and hint in error.hint
