"""Layers whose values are left unset: every parameter is drawn later, in one place (`initialise`)."""

import torch
from torch import Tensor, nn


def unset_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer without bias, weight (outputs, inputs)."""
    # nn.utils.skip_init does the same, and loads sympy for it: seconds at every start of a process.
    layer = nn.Linear(1, 1, bias=False)
    layer.in_features, layer.out_features = inputs, outputs
    layer.weight = nn.Parameter(torch.empty(outputs, inputs))
    return layer


def unset_embedding(vocab_size: int, width: int) -> nn.Embedding:
    """An embedding (vocab_size, width). A row's gradient is divided by how often its token stands in the batch."""
    weight = torch.empty(vocab_size, width)
    layer: nn.Embedding = nn.Embedding.from_pretrained(weight, freeze=False, scale_grad_by_freq=True)  # type: ignore[no-untyped-call]
    return layer


def parameters_named(name: str, blocks: nn.ModuleList) -> list[Tensor]:
    """The parameter `name` of each block, in order."""
    return [block.get_parameter(name) for block in blocks]
