"""Blocks compiled by torch, a sequence length at a time, where that pays within the run.

A run begins with eager blocks. When a few steps at a length have shown what a microbatch takes, the blocks are compiled
for that length if the microbatches still to come at it are expected to win back the seconds that it costs. What it did
cost is written down beside the compiled code, in a folder that all workers of a machine share, so that the next process
knows what the same code costs from there. The seconds are reported apart and are no training time.
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

# What compiling is taken to save of a microbatch's time, and what it is taken to cost where nobody has tried yet. Both
# are on the careful side: compiling that does not pay is worse than none.
ASSUMED_SAVING = 0.1
ASSUMED_COLD_SECONDS = 60.0
ASSUMED_SHARE_FROM_CACHE = 0.2

# Settings that no block reads. Any other may be part of the code.
NOT_IN_BLOCKS = frozenset(
    "depth model_scale dataset tokenizer initial_sequence_length sequence_growth_steps gpu_capacity_scalar "
    "lr_mult lr_mult_position_bias lr_mult_non_dot_products lr_mult_output_layer learning_rate total_train_steps "
    "warmup_percent weight_decay warmup_steps microbatch_sample_every microbatch_scale_lr max_microbatches "
    "block_optimizer output_precision precision max_epochs max_steps max_tokens max_time_seconds log_every eval_every "
    "max_epochs_between_evals num_eval_tokens eval_sequence_length test_tokens".split()
)


class CompiledCode:
    """What this process has compiled, from run to run, and what the machine knows of its cost.

    `folder` keeps the costs, and the compiled code too where `share_compiled_code` named it; `backend` is that of
    torch.compile.
    """

    def __init__(self, folder: Path, *, backend: str = "inductor") -> None:
        self.broken = False
        self._backend = backend
        self._here: set[str] = set()
        self._costs = folder / "compile_seconds.json"

    @functools.cached_property
    def compiled_call(self) -> Callable[..., Tensor]:
        """`call_block`, compiled. Made when first asked for: torch's compiler takes seconds to import."""
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
        """Note that this process has it now, and what it cost. A folder that cannot be written is no harm."""
        if key in self._here:
            return  # it cost nothing this time, which tells the next process nothing
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
    """Have torch keep compiled code in `folder`, from where other processes take it. Call it before torch compiles.

    Triton's kernels too, our own among them: a home that cannot be written is no reason to do without.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
    os.environ.setdefault("TRITON_CACHE_DIR", str(folder / "triton"))
    os.environ.setdefault("TORCHINDUCTOR_AUTOGRAD_CACHE", "1")


class BlockCompiler:
    """Calls a model's blocks: compiled at the shapes that were found worth it, eager at all others."""

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
        # By shape, once a run: a step does not read the file of costs.
        self._expected_seconds: dict[BatchShape, float] = {}
        self._about = {"settings": read, "dtype": str(dtype), "device": name, "torch": str(torch.__version__)}

    def __call__(self, block: nn.Module, states: Tensor, *more: object) -> Tensor:
        """What `block` makes of `states` (batch, length, width). Evaluations are eager: they have other shapes."""
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
        """Run once what a microbatch runs, so that what a GPU makes ready at its first use is no training time."""
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
        # Whatever stands in the way of compiling a user's block is no reason to lose the run.
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
    """Sixteen hex digits that name the code of blocks at one shape."""
    described = json.dumps({**about, "shape": [shape.batch_size, shape.sequence_length]}, sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def many_versions() -> Any:
    """A context in which torch may keep as many versions of the block's code as there are lengths and models."""
    import torch._dynamo  # only here: it takes seconds

    config = torch._dynamo.config
    # Their names up to torch 2.6 are the second ones.
    names = [("recompile_limit", "cache_size_limit"), ("accumulated_recompile_limit", "accumulated_cache_size_limit")]
    return config.patch({new if hasattr(config, new) else old: 4096 for new, old in names})


def microbatches_to_come(
    settings: Settings, *, shape: BatchShape, step: int, tokens_seen: int, train_tokens: int, divisor: int
) -> float:
    """How many more microbatches a run is expected to have at `shape`, which it has after `step` steps.

    Until the sequences grow or the run ends, whichever is first, with as many microbatches a step as now.
    """
    tokens_left = min(settings.max_tokens, settings.max_epochs * train_tokens) - tokens_seen
    steps_left: float = settings.max_steps - step
    if shape.sequence_length < settings.max_sequence_length:
        steps_left = min(steps_left, settings.sequence_growth_steps - step % settings.sequence_growth_steps)
    return max(min(tokens_left / shape.tokens, steps_left * divisor), 0.0)
