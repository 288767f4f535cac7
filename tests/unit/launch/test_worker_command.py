"""A worker's options on their way through a command line, and what the process list shows of them."""

import os
from typing import Any

import pytest

from hlbgpt_core.fast_path.compile_mode import CompileMode
from orchestrator.errors import UsageError
from orchestrator.launch.worker_command import WorkerOptions, gpu_numbers

EVERY_OPTION = WorkerOptions(
    gpu=3,
    gpus=("0", "2"),
    device="cpu",
    slots=2,
    no_memory_check=True,
    threads=4,
    deterministic=True,
    fast=False,
    compile_mode=CompileMode.NEVER,
    state_dir="-a folder",
    watch=True,
    count=5,
    sweep=(7, 8),
    db="-one.db",
    with_parent=17,
    prestarted=True,
    slot=0,
    label="cpu slot 1 of 2: ",
)


def test_the_example_holds_every_option() -> None:
    plain = WorkerOptions()
    assert [name for name, value in vars(EVERY_OPTION).items() if value == getattr(plain, name)] == []


@pytest.mark.parametrize(
    "options", [WorkerOptions(), EVERY_OPTION, WorkerOptions(fast=True), WorkerOptions(gpus=("all",), slot=1)]
)
def test_a_worker_reads_what_was_asked_for(options: WorkerOptions) -> None:
    assert WorkerOptions.from_words(options.to_words()) == options


def test_a_trainer_reads_its_own_options_and_no_others() -> None:
    words = EVERY_OPTION.to_words(for_trainer=True)
    wanted = WorkerOptions(slots=2, deterministic=True, fast=False, compile_mode=CompileMode.NEVER)
    assert WorkerOptions.from_words(words, for_trainer=True) == wanted
    with pytest.raises(SystemExit):
        WorkerOptions.from_words(["--watch"], for_trainer=True)


def test_the_process_list_can_be_read() -> None:
    options = WorkerOptions(state_dir="state", sweep=(7, 8), fast=False, with_parent=17, no_memory_check=True)
    assert " ".join(options.argv()[1:]) == (
        "-P -m worker --no-memory-check --plain --state_dir state --sweep 7 --sweep 8 --with-parent 17"
    )
    assert WorkerOptions().ending_with_this_process().to_words() == ["--with-parent", str(os.getpid())]


def test_a_password_goes_by_the_environment() -> None:
    options, environment = WorkerOptions(db="postgresql://me:s3cret@host/queue").hidden()
    assert "s3cret" not in " ".join(options.argv())
    assert environment["HLBQ_DB"] == "postgresql://me:s3cret@host/queue"
    assert WorkerOptions(db="hlbq.db").hidden()[0].to_words() == ["--db", "hlbq.db"]


def test_two_places_to_train_are_refused() -> None:
    with pytest.raises(UsageError, match="--gpu and --device were given together"):
        WorkerOptions(gpu=0, device="cpu").check()


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ({"gpus": ("0,0",)}, "--gpus 0,0 names a GPU twice"),
        ({"gpus": ("0", "0")}, "--gpus 0,0 names a GPU twice"),
        ({"gpus": ("0,x",)}, "'x' is not a GPU's number"),
        ({"gpus": ("",)}, "not a GPU"),
        ({"device": "tpu"}, "there is no device 'tpu'"),
    ],
)
def test_a_place_that_no_machine_has_is_refused(where: dict[str, Any], says: str) -> None:
    """`hlbq run` checks this before it stores a sweep."""
    with pytest.raises(UsageError, match=says):
        WorkerOptions(**where).check()


def test_gpus_are_all_or_numbers() -> None:
    assert gpu_numbers(["all"]) is None
    assert gpu_numbers(["1", "0,2"]) == (1, 0, 2)
