"""What only a GPU runs, as far as a machine without one can tell: kernels' source, layouts, errors' words."""

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import hlbgpt_core
from hlbgpt_core.fast_path.memory import is_out_of_memory
from hlbgpt_core.recipes import get_recipe
from hlbgpt_core.recipes.protocol import call_block
from hlbgpt_core.scale import resolve, sizes
from hlbgpt_core.training import trainer as trainer_module
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
