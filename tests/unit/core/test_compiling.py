"""When blocks are compiled, what it costs, and that they compute the same."""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hlbgpt_core.fast_path.compile_mode import CompileMode
from hlbgpt_core.fast_path.compiling import (
    ASSUMED_COLD_SECONDS,
    NOT_IN_BLOCKS,
    BlockCompiler,
    CompiledCode,
    microbatches_to_come,
)
from hlbgpt_core.fast_path.process_cache import ProcessCache
from hlbgpt_core.points import Directive, Phase, Progress
from hlbgpt_core.recipes.folded_attention import two_parts
from hlbgpt_core.recipes.protocol import BatchShape
from hlbgpt_core.settings import Settings, specs
from hlbgpt_core.training import training_run
from hlbgpt_core.training.trainer import train
from tests.small_runs import Recorder, small_data, small_settings

SHAPE = BatchShape(batch_size=4, sequence_length=8)


def compiler(code: CompiledCode, mode: CompileMode = CompileMode.AUTO, **more: object) -> BlockCompiler:
    return BlockCompiler(
        code, mode=mode, settings=small_settings(), dtype=torch.float32, device=torch.device("cpu"), **more
    )  # type: ignore[arg-type]


def test_compiling_waits_until_the_speed_is_known_and_is_done_only_where_it_pays(tmp_path: Path) -> None:
    own = compiler(CompiledCode(tmp_path))
    assert not own.pays(SHAPE, microbatches_to_come=1e9, seconds_a_microbatch=None)
    assert not own.pays(SHAPE, microbatches_to_come=100, seconds_a_microbatch=0.05)
    assert own.pays(SHAPE, microbatches_to_come=1e6, seconds_a_microbatch=0.05)
    assert not compiler(CompiledCode(tmp_path), CompileMode.NEVER).pays(
        SHAPE, microbatches_to_come=1e9, seconds_a_microbatch=1.0
    )
    assert compiler(CompiledCode(tmp_path), CompileMode.ALWAYS).pays(
        SHAPE, microbatches_to_come=0, seconds_a_microbatch=None
    )


def test_what_compiling_cost_is_known_to_the_next_process(tmp_path: Path) -> None:
    ticks = iter([0.0, 100.0, 200.0, 204.0])
    said: list[str] = []
    first = compiler(CompiledCode(tmp_path), clock=lambda: next(ticks), say=said.append)
    first.compile(SHAPE, lambda: None)
    assert first.seconds == 100.0 and "4 x 8 tokens in 100.0 s" in said[0]
    assert not first.pays(SHAPE, microbatches_to_come=1e9, seconds_a_microbatch=1.0)

    # The next process finds the compiled code on disk, and takes it for cheaper.
    code = CompiledCode(tmp_path)
    (key,) = json.loads((tmp_path / "compile_seconds.json").read_text())
    assert code.expected_seconds(key) == 20.0 and code.expected_seconds("other") == 100.0
    second = compiler(code, clock=lambda: next(ticks), say=said.append)
    second.compile(SHAPE, lambda: None)
    assert CompiledCode(tmp_path).expected_seconds(key) == 4.0
    # In the same process it costs nothing any more.
    assert compiler(code).pays(SHAPE, microbatches_to_come=1, seconds_a_microbatch=None)


def test_the_costs_are_read_once_a_shape_and_not_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    code = CompiledCode(tmp_path)
    monkeypatch.setattr(code, "expected_seconds", lambda key: asked.append(key) or 60.0)
    own = compiler(code)
    for _ in range(3):
        assert not own.pays(SHAPE, microbatches_to_come=100, seconds_a_microbatch=0.05)
    assert len(asked) == 1


def test_a_folder_of_costs_that_cannot_be_read_or_written_is_no_harm(tmp_path: Path) -> None:
    (tmp_path / "compile_seconds.json").write_text("{ not JSON")
    code = CompiledCode(tmp_path)
    assert code.expected_seconds("any") == ASSUMED_COLD_SECONDS
    blocked = tmp_path / "file"
    blocked.write_text("")
    CompiledCode(blocked / "below").add("any", 1.0)


def test_blocks_that_cannot_be_compiled_stay_as_they_are(tmp_path: Path) -> None:
    said: list[str] = []
    code = CompiledCode(tmp_path)
    own = compiler(code, CompileMode.ALWAYS, say=said.append)

    def fail() -> None:
        raise RuntimeError("no such kernel\nand a long story")

    own.compile(SHAPE, fail)
    assert said == ["warning: the blocks cannot be compiled, they go on as they are: no such kernel"]
    assert not own.pays(SHAPE, microbatches_to_come=1e9, seconds_a_microbatch=1.0)


def test_out_of_memory_while_compiling_is_the_runs_end(tmp_path: Path) -> None:
    def fail() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        compiler(CompiledCode(tmp_path)).compile(SHAPE, fail)


def test_compiled_runs_learn_the_same_and_say_what_compiling_took(tmp_path: Path) -> None:
    # Points are seldom, so that steps begin early while others are compiled for.
    settings = small_settings(precision="float64", max_steps=9, log_every=4, eval_every=7, microbatch_sample_every=3)
    # torch's own check of the traced code, without a C++ compiler.
    warm = ProcessCache(CompiledCode(tmp_path, backend="aot_eager"))
    curves = []
    for more in ({}, {"compile_mode": CompileMode.ALWAYS, "warm": warm}):
        reporter = Recorder()
        train(settings, small_data(), seed=3, device="cpu", reporter=reporter, path="fast", **more)  # type: ignore[arg-type]
        curves.append([point.loss for point in reporter.points])
    assert curves[1] == pytest.approx(curves[0], rel=1e-12)
    assert reporter.points[-1].extra["compile_seconds"] > 0
    assert any(progress.phase is Phase.COMPILE for progress in reporter.progresses)
    assert len(json.loads((tmp_path / "compile_seconds.json").read_text())) == 2  # lengths 8 and 16


def test_a_second_run_in_the_same_process_does_not_tell_the_next_that_compiling_is_free(tmp_path: Path) -> None:
    ticks = iter([0.0, 100.0, 200.0, 200.1])
    code = CompiledCode(tmp_path)
    for _ in range(2):
        compiler(code, CompileMode.ALWAYS, clock=lambda: next(ticks), say=lambda _: None).compile(SHAPE, lambda: None)
    (key,) = json.loads((tmp_path / "compile_seconds.json").read_text())
    assert CompiledCode(tmp_path).expected_seconds(key) == 20.0


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("g++"), reason="torch compiles for a CPU with g++, which is not here")
def test_a_compiler_keeps_both_parts_of_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    exact = torch.tensor([5.4321, 9.0971, -1023.0])
    eager, compiled = two_parts(exact), torch.compile(two_parts)(exact)
    for one, other in zip(compiled, eager, strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(compiled[0].double() + compiled[1].double(), exact.double(), rtol=2**-15, atol=0)


def test_a_long_compile_is_not_taken_for_a_hung_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "SIGN_OF_LIFE_SECONDS", 0.001)
    heard = threading.Event()

    def direct(number: int, progress: Progress) -> Directive:
        if progress.phase is Phase.COMPILE and threading.current_thread() is not threading.main_thread():
            heard.set()
        return Directive.CONTINUE

    def wait_until_heard(self: BlockCompiler, shape: BatchShape, try_out: Callable[[], None]) -> None:
        assert heard.wait(timeout=120)
        self._mode = CompileMode.NEVER

    monkeypatch.setattr(BlockCompiler, "compile", wait_until_heard)
    more = {"path": "fast", "compile_mode": CompileMode.ALWAYS, "warm": ProcessCache(CompiledCode(tmp_path))}
    train(small_settings(max_steps=2), small_data(), seed=3, device="cpu", reporter=Recorder(direct), **more)  # type: ignore[arg-type]
    assert heard.is_set()


def test_every_setting_that_no_block_reads_is_one() -> None:
    assert set(specs()) >= NOT_IN_BLOCKS


def come(settings: Settings, length: int, **more: int) -> float:
    given = {"step": 10, "tokens_seen": 1000, "train_tokens": 10_000, "divisor": 2, **more}
    shape = BatchShape(batch_size=2, sequence_length=length)
    return microbatches_to_come(settings, shape=shape, **given)


def test_microbatches_to_come_end_with_the_length_or_the_run() -> None:
    settings = small_settings(sequence_growth_steps=80, max_steps=100, max_epochs=1e6)
    assert come(settings, 8) == 70 * 2
    assert come(settings, 32) == 90 * 2
    assert come(small_settings(max_steps=100, max_epochs=0.2), 32) == 1000 / 64
    assert come(small_settings(max_steps=100, max_tokens=1500), 32) == 500 / 64
    assert come(settings, 32, step=200) == 0
