"""What only a GPU runs, as far as a machine without one can tell: kernels' source, layouts, errors' words."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import hlbgpt_core
from hlbgpt_core.fast_path import float8
from hlbgpt_core.fast_path.memory import is_out_of_memory
from hlbgpt_core.recipes import get_recipe
from hlbgpt_core.recipes.protocol import call_block
from hlbgpt_core.scale import resolve, sizes
from hlbgpt_core.training import trainer as trainer_module
from hlbgpt_core.training.muon import Muon
from hlbgpt_core.training.trainer import train
from tests.small_runs import Recorder, small_data, small_settings

KERNEL = Path(hlbgpt_core.__file__).parent / "fast_path" / "output_loss_kernel.py"
# Besides its parameters and what it assigns, all that Triton lets a kernel name.
NAMES_OF_TRITON = {"tl", "range", "float"}


def test_kernels_name_nothing_that_triton_does_not_know() -> None:
    kernels = [
        one
        for one in ast.parse(KERNEL.read_text()).body
        if isinstance(one, ast.FunctionDef) and any("triton.jit" in ast.unparse(by) for by in one.decorator_list)
    ]
    assert kernels
    for kernel in kernels:
        # Annotations are compiled with the rest.
        compiled = [*kernel.args.args, *kernel.body]
        names = [node for part in compiled for node in ast.walk(part) if isinstance(node, ast.Name)]
        own = {argument.arg for argument in kernel.args.args}
        own |= {name.id for name in names if isinstance(name.ctx, ast.Store)}
        assert {name.id for name in names} - own == NAMES_OF_TRITON


def laid_out(one: Tensor) -> list[int]:
    """The strides that tell where numbers lie: those of dimensions of one number do not."""
    return [stride for stride, size in zip(one.stride(), one.shape, strict=True) if size > 1]


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("0.4.1", {}),
        ("0.4.1", {"width": 128, "num_heads": 2}),
        ("0.4.1", {"width": 384}),
        # Rows of odd lengths, of which the value is a part.
        ("0.4.1", {"width": 384, "qk_dim_div": 7, "linear_value": True}),
        ("0.3.0", {"width": 192, "num_heads": 3}),
    ],
)
def test_flash_kernels_are_given_what_they_take(
    recipe: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = resolve(small_settings(recipe, **changes))
    vocabulary = sizes(settings).vocab_size
    model = get_recipe(recipe)(settings, vocab_size=vocabulary, tokens_per_microbatch=64).model.to("meta")
    model.fast = True
    given: list[tuple[Tensor, ...]] = []
    attention = F.scaled_dot_product_attention

    def noted(*tensors: Tensor, **more: Any) -> Tensor:
        given.append(tensors)
        assert more["is_causal"] and "attn_mask" not in more
        return attention(*tensors, **more)

    monkeypatch.setattr(F, "scaled_dot_product_attention", noted)
    model.hidden_states(torch.zeros(3, 16, dtype=torch.long, device="meta"))
    assert given
    for query, key, value in given:
        assert query.shape == key.shape == value.shape
        assert query.shape[-1] % 8 == 0 and query.shape[-1] <= 256
        for one in (query, key, value):
            *outer, last = one.stride()
            # They load 16 bytes at a time, unasked whether these lie together and at a multiple of 16 (8 numbers).
            assert last == 1 and all(stride % 8 == 0 for stride in outer) and one.storage_offset() % 8 == 0
            # torch's compiler lays out what comes back by the tensor itself, the kernel by its transpose. The two
            # agree where no two numbers share a place; else compiled blocks read the result in a wrong order.
            by_the_kernel = torch.empty_like(one.transpose(1, 2)).transpose(1, 2)
            assert laid_out(torch.empty_like(one)) == laid_out(by_the_kernel)


@pytest.mark.parametrize("path", ["plain", "fast"])
def test_no_path_leaves_the_choice_of_attention_kernels_to_torch(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []
    chosen = trainer_module.attention_kernels

    def noted(device: torch.device) -> Any:
        asked.append(device)
        return chosen(device)

    monkeypatch.setattr(trainer_module, "attention_kernels", noted)
    train(small_settings(max_steps=1), small_data(), seed=3, device="cpu", reporter=Recorder(), path=path)
    assert asked == [torch.device("cpu")]
    # cuDNN's kernels give a mask, and so the plain path's position bias, no gradient.
    with chosen(torch.device("cuda", 0)):
        assert not torch.backends.cuda.cudnn_sdp_enabled() and torch.backends.cuda.flash_sdp_enabled()


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "backend='inductor' raised:\nOutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory",
    ],
)
def test_out_of_memory_has_many_words(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))
    assert not is_out_of_memory(ValueError(message)) and not is_out_of_memory(RuntimeError("CUDA error: unknown"))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("recipe", "changes"), [("0.4.1", {"linear_value": True}), ("0.3.0", {})])
def test_blocks_go_through_the_flash_operator_forward_and_backward(
    recipe: str, changes: dict[str, Any], compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flash(query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool, scale: float) -> Tensor:
        operator = torch.ops.aten._scaled_dot_product_flash_attention
        attended: Tensor = operator(query, key, value, 0.0, is_causal, False, scale=scale)[0]
        return attended

    monkeypatch.setattr(F, "scaled_dot_product_attention", flash)
    settings = resolve(small_settings(recipe, width=384, num_heads=3, **changes))
    vocabulary = sizes(settings).vocab_size
    model = get_recipe(recipe)(settings, vocab_size=vocabulary, tokens_per_microbatch=64).model
    model.to(device="meta", dtype=torch.bfloat16)
    model.fast = True
    if compiled:
        model.run_block = torch.compile(call_block, dynamic=False, fullgraph=True, backend="aot_eager")
    states = model.hidden_states(torch.zeros(5, 16, dtype=torch.long, device="meta"))
    states.sum().backward()
    assert states.shape == (5, 16, 384)
    assert {name for name, one in model.named_parameters() if one.grad is None} <= {"outputs.weight"}


# Operations that launch nothing: views, and memory that nobody writes.
NO_KERNELS = frozenset(
    "alias as_strided detach empty empty_like empty_strided expand new_empty new_empty_strided permute select slice "
    "split split_with_sizes squeeze t transpose unbind unsqueeze view _unsafe_view".split()
)


class KernelCount(TorchDispatchMode):
    """About how many kernels a GPU would launch: one for each operation that computes."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.__name__.split(".")[0] not in NO_KERNELS
        return func(*args, **(kwargs or {}))


def kernels(work: Callable[[], object]) -> int:
    """What `work` launches the second time: what is kept from the first costs nothing."""
    work()
    with KernelCount() as counted:
        work()
    return counted.count


class OneKernel(torch.autograd.Function):
    """Attention as a GPU has it: a kernel forward and one backward, both outside the count."""

    @staticmethod
    def forward(ctx: Any, *given: Tensor | None) -> Tensor:
        ctx.given = given
        assert given[2] is not None
        return torch.empty_like(given[2])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        return tuple(None if one is None else torch.empty_like(one) for one in ctx.given)


@pytest.mark.parametrize(("recipe", "heads"), [("0.4.1", 1), ("0.3.0", 6)])
def test_eager_blocks_launch_about_as_many_kernels_on_the_fast_path(
    recipe: str, heads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attention(*tensors: Tensor, attn_mask: Tensor | None = None, **_: object) -> object:
        return OneKernel.apply(*tensors, attn_mask)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(F, "scaled_dot_product_attention", attention)
    settings = resolve(small_settings(recipe, width=384, depth=8, num_heads=heads))
    vocabulary = sizes(settings).vocab_size
    model = get_recipe(recipe)(settings, vocab_size=vocabulary, tokens_per_microbatch=64).model
    model.to(device="meta", dtype=torch.bfloat16)
    tokens = torch.zeros(3, 16, dtype=torch.long, device="meta")

    def step() -> None:
        states = model.hidden_states(tokens)
        states.backward(torch.empty_like(states))  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)

    plain = kernels(step)
    model.fast = True
    fast = kernels(step)
    # Each block on its own made it 2.1 and 1.8 times as many.
    assert fast < 1.35 * plain, f"{fast} on the fast path, {plain} on the plain one"


def test_muon_is_torchs_in_a_fraction_of_its_kernels() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(8, 8), (64, 16), (16, 64)] * 8
    first = [torch.randn(shape, generator=generator) for shape in shapes]
    gradients = [torch.randn(shape, generator=generator) for shape in shapes]
    ours, torchs = ([torch.nn.Parameter(one.clone()) for one in first] for _ in range(2))
    optimizers = (
        Muon(ours, learning_rate=0.02),
        torch.optim.Muon(torchs, lr=0.02, momentum=0.95, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
    )
    counts = []
    for optimizer, matrices in zip(optimizers, (ours, torchs), strict=True):
        optimizer.param_groups[0]["weight_decay"] = 0.1
        for matrix, gradient in zip(matrices, gradients, strict=True):
            matrix.grad = gradient
        counts.append(kernels(optimizer.step))
    for one, other in zip(ours, torchs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert counts[0] < counts[1] / 4


@pytest.mark.parametrize(("capability", "warned"), [((8, 0), True), ((8, 9), False)])
def test_a_gpu_that_can_only_imitate_float8_is_warned_of(
    capability: tuple[int, int], warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    float8.has_float8_products.cache_clear()
    try:
        warning = float8.imitation_warning(torch.device("cuda", 0))
    finally:
        float8.has_float8_products.cache_clear()
    assert ("compute capability 8.0" in warning and "8.9" in warning) if warned else not warning
    assert not float8.imitation_warning(torch.device("cpu"))
