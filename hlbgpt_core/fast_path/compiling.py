"""Blocks compiled by torch, one sequence length at a time, if that pays within the run.

A run begins with eager blocks. A few steps at a length show the time of a microbatch. Then the blocks are compiled for
that length if the microbatches left there should save more seconds than compiling costs. The actual cost is recorded
beside the compiled code, in a folder that all workers of a machine share, so the next process knows it. These seconds
are reported separately and are not training time.
"""

import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hlbgpt_core.fast_path.compile_mode import CompileMode
from hlbgpt_core.fast_path.memory import is_out_of_memory
from hlbgpt_core.recipes.protocol import BatchShape, call_block
from hlbgpt_core.settings import Settings

# The assumed saving of a microbatch's time by compiling, and the assumed cost before the first try. Both are cautious:
# compiling that does not pay is worse than none.
ASSUMED_SAVING = 0.1
ASSUMED_COLD_SECONDS = 60.0
ASSUMED_SHARE_FROM_CACHE = 0.2

# Settings that no block reads. Any other may affect the code.
NOT_IN_BLOCKS = frozenset(
    "depth model_scale dataset tokenizer initial_sequence_length sequence_growth_steps gpu_capacity_scalar "
    "lr_mult lr_mult_position_bias lr_mult_non_dot_products lr_mult_output_layer learning_rate total_train_steps "
    "warmup_percent weight_decay warmup_steps microbatch_sample_every microbatch_scale_lr max_microbatches "
    "block_optimizer output_precision precision max_epochs max_steps max_tokens max_time_seconds log_every eval_every "
    "max_epochs_between_evals num_eval_tokens eval_sequence_length test_tokens".split()
)


class CompiledCode:
    """What this process has compiled, from run to run, and the costs known on this machine.

    `folder` keeps the costs, and the compiled code too if `share_compiled_code` set it; `backend` is that of
    torch.compile.
    """

    def __init__(self, folder: Path, *, backend: str = "inductor") -> None:
        self.broken = False
        self._backend = backend
        self._here: set[str] = set()
        self._costs = folder / "compile_seconds.json"

    @functools.cached_property
    def compiled_call(self) -> Callable[..., Tensor]:
        """`call_block`, compiled. Made at the first use: torch's compiler takes seconds to import."""
        compiled: Callable[..., Tensor] = torch.compile(
            call_block, dynamic=False, fullgraph=True, backend=self._backend
        )
        return compiled

    def is_here(self, key: str) -> bool:
        """Whether this process has it already."""
        return key in self._here

    def expected_seconds(self, key: str) -> float:
        """What compiling would cost this process."""
        costs = self._read()
        if key in costs:
            cold, cached = costs[key].get("cold", ASSUMED_COLD_SECONDS), costs[key].get("cached")
            return float(cached) if cached is not None else float(cold) * ASSUMED_SHARE_FROM_CACHE
        return max([ASSUMED_COLD_SECONDS, *(float(cost.get("cold", 0)) for cost in costs.values())])

    def add(self, key: str, seconds: float) -> None:
        """Note that this process has it now, and what it cost. It does not matter if the folder cannot be written."""
        if key in self._here:
            return  # it cost nothing this time, which says nothing about the next process
        self._here.add(key)
        costs = self._read()
        costs[key] = {**costs.get(key, {}), "cached" if key in costs else "cold": round(seconds, 3)}
        temporary = self._costs.with_name(f".{self._costs.name}.{os.getpid()}")
        try:
            self._costs.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.write_text(json.dumps(costs, indent=1))
            temporary.replace(self._costs)
        except OSError:
            pass

    def _read(self) -> dict[str, dict[str, float]]:
        try:
            found = json.loads(self._costs.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def share_compiled_code(folder: Path) -> None:
    """Make torch keep compiled code in `folder`, for other processes too. Call it before torch compiles.

    Triton's kernels, including our own, go there too, so an unwritable home folder does not matter.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
    os.environ.setdefault("TRITON_CACHE_DIR", str(folder / "triton"))
    os.environ.setdefault("TORCHINDUCTOR_AUTOGRAD_CACHE", "1")


class BlockCompiler:
    """Calls a model's blocks: compiled at the shapes where it pays, eager at all others."""

    def __init__(
        self,
        code: CompiledCode,
        *,
        mode: CompileMode,
        settings: Settings,
        dtype: torch.dtype,
        device: torch.device,
        clock: Callable[[], float] = time.perf_counter,
        say: Callable[[str], None] = print,
    ) -> None:
        self.seconds = 0.0
        self._code, self._mode, self._clock, self._say = code, mode, clock, say
        self._shapes: set[tuple[int, int]] = set()
        read = {name: value for name, value in settings.to_dict().items() if name not in NOT_IN_BLOCKS}
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        self._keys: dict[BatchShape, str] = {}
        # By shape, once per run: a step must not read the file of costs.
        self._expected_seconds: dict[BatchShape, float] = {}
        self._about = {"settings": read, "dtype": str(dtype), "device": name, "torch": str(torch.__version__)}

    def __call__(self, block: nn.Module, states: Tensor, *more: object) -> Tensor:
        """The output of `block` for `states` (batch, length, width). Evaluations are eager: they have other shapes."""
        if torch.is_grad_enabled() and tuple(states.shape[:2]) in self._shapes:
            return self._code.compiled_call(block, states, *more)
        return call_block(block, states, *more)

    def pays(self, shape: BatchShape, *, microbatches_to_come: float, seconds_a_microbatch: float | None) -> bool:
        """Whether blocks should now be compiled for `shape`: not yet, and worth it (None: not known yet)."""
        if self._mode is CompileMode.NEVER or self._code.broken or self._is_compiled(shape):
            return False
        key = self._key(shape)
        if self._mode is CompileMode.ALWAYS or self._code.is_here(key):
            return True
        if seconds_a_microbatch is None:
            return False
        if shape not in self._expected_seconds:
            self._expected_seconds[shape] = self._code.expected_seconds(key)
        saved = ASSUMED_SAVING * seconds_a_microbatch * microbatches_to_come
        return saved > self._expected_seconds[shape]

    def warm_up(self, try_out: Callable[[], None]) -> None:
        """Run one microbatch, so a GPU's set-up at its first use is not training time."""
        started = self._clock()
        try_out()
        self.seconds += self._clock() - started

    def compile(self, shape: BatchShape, try_out: Callable[[], None]) -> None:
        """Compile for `shape`: `try_out` runs the blocks once, forward and backward. On failure they stay eager."""
        started = self._clock()
        self._shapes.add((shape.batch_size, shape.sequence_length))
        try:
            with many_versions():
                try_out()
        # A user's block that cannot be compiled must not end the run.
        except Exception as error:
            self._shapes.discard((shape.batch_size, shape.sequence_length))
            if is_out_of_memory(error):
                raise
            self._code.broken = True
            first_line = str(error).strip().split("\n", 1)[0]
            self._say(f"warning: the blocks cannot be compiled, they go on as they are: {first_line}")
        spent = self._clock() - started
        self.seconds += spent
        if self._is_compiled(shape):
            self._code.add(self._key(shape), spent)
            self._say(f"compiled the blocks for {shape.batch_size} x {shape.sequence_length} tokens in {spent:.1f} s")

    def _key(self, shape: BatchShape) -> str:
        if shape not in self._keys:
            self._keys[shape] = compiled_key(self._about, shape)
        return self._keys[shape]

    def _is_compiled(self, shape: BatchShape) -> bool:
        return (shape.batch_size, shape.sequence_length) in self._shapes


def compiled_key(about: Mapping[str, Any], shape: BatchShape) -> str:
    """Sixteen hex digits that identify the code of blocks at one shape."""
    described = json.dumps({**about, "shape": [shape.batch_size, shape.sequence_length]}, sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def many_versions() -> Any:
    """A context in which torch may keep a version of the block's code for every length and model."""
    import torch._dynamo  # only here: it takes seconds

    config = torch._dynamo.config
    # The second names are those up to torch 2.6.
    names = [("recompile_limit", "cache_size_limit"), ("accumulated_recompile_limit", "accumulated_cache_size_limit")]
    return config.patch({new if hasattr(config, new) else old: 4096 for new, old in names})


def microbatches_to_come(
    settings: Settings, *, shape: BatchShape, step: int, tokens_seen: int, train_tokens: int, divisor: int
) -> float:
    """How many more microbatches a run that is at `shape` after `step` steps should have there.

    Until the sequences grow or the run ends, whichever is first, at the present number of microbatches per step.
    """
    tokens_left = min(settings.max_tokens, settings.max_epochs * train_tokens) - tokens_seen
    steps_left: float = settings.max_steps - step
    if shape.sequence_length < settings.max_sequence_length:
        steps_left = min(steps_left, settings.sequence_growth_steps - step % settings.sequence_growth_steps)
    return max(min(tokens_left / shape.tokens, steps_left * divisor), 0.0)
