"""Muon for many matrices at once: torch's own steps them one by one, dozens of small kernels for each."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
# Of Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), as torch.optim.Muon has them.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
EPS = 1e-7
# Of Liu et al., "Muon is scalable for LLM training" (2025): updates as large as AdamW's.
UPDATE_SCALE = 0.2


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay; matrices of one shape are one batched product.

    An update is 0.2 sqrt(max(rows, columns)) times the orthogonalised momentum, so that a learning rate made for AdamW
    keeps its meaning.
    """

    def __init__(self, matrices: list[nn.Parameter], *, learning_rate: float) -> None:
        super().__init__(matrices, {"lr": learning_rate, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Step every matrix that has a gradient."""
        for options in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for matrix in options["params"]:
                if matrix.grad is not None:
                    by_shape[matrix.shape].append((matrix, matrix.grad))
            for shape, pairs in by_shape.items():
                matrices, gradients = (list(one) for one in zip(*pairs, strict=True))
                self._step(matrices, gradients, options["lr"] * (UPDATE_SCALE * max(shape) ** 0.5), options)

    def _step(
        self, matrices: list[Tensor], gradients: list[Tensor], update_size: float, options: dict[str, Any]
    ) -> None:
        momenta = [self._momentum(matrix) for matrix in matrices]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        updates = orthogonalised(torch.stack(torch._foreach_lerp(gradients, momenta, MOMENTUM)))
        for matrix in matrices:  # _foreach_mul_ on a CPU would round the factor to bfloat16
            matrix.mul_(1 - options["lr"] * options["weight_decay"])
        torch._foreach_add_(matrices, updates.to(matrices[0].dtype).unbind(), alpha=-update_size)

    def _momentum(self, matrix: Tensor) -> Tensor:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        found: Tensor = state["momentum_buffer"]
        return found


def orthogonalised(matrices: Tensor) -> Tensor:
    """Nearly orthogonal matrices (count, rows, columns) in bfloat16, by a quintic Newton-Schulz iteration.

    Of U S V^T it gives U S' V^T with all of S' near 1 (Jordan et al., 2024).
    """
    tall = matrices.shape[1] > matrices.shape[2]
    found = matrices.bfloat16()
    if tall:
        found = found.mT
    found = found / torch.linalg.vector_norm(found, dim=(1, 2), keepdim=True).clamp(min=EPS)
    a, b, c = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.mT if tall else found
