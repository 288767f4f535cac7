"""The optimizers of a run: AdamW for every parameter group, or Muon for a group's matrices where it says so."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hlbgpt_core.recipes.protocol import ParameterGroup
from hlbgpt_core.training.muon import Muon


class Optimizers:
    """One step of all of them at a time. Learning rates and weight decay are set before every step."""

    def __init__(self, groups: Sequence[ParameterGroup], *, eps: float) -> None:
        """`eps` is AdamW's."""
        self._all: list[torch.optim.Optimizer] = []
        self._holders: dict[nn.Parameter, torch.optim.Optimizer] = {}
        # Each of the optimizers' own groups, with the ParameterGroup that it is of.
        self._groups: list[tuple[ParameterGroup, dict[str, Any]]] = []
        adamw = [(group, [one for one in group.parameters if not by_muon(group, one)]) for group in groups]
        self._add(make_adamw([(group, own) for group, own in adamw if own], eps=eps), [g for g, own in adamw if own])
        for group in groups:
            matrices = [parameter for parameter in group.parameters if by_muon(group, parameter)]
            if matrices:
                self._add(Muon(matrices, learning_rate=group.learning_rate), [group])

    def _add(self, optimizer: torch.optim.Optimizer, groups: Sequence[ParameterGroup]) -> None:
        self._all.append(optimizer)
        self._holders.update((own, optimizer) for options in optimizer.param_groups for own in options["params"])
        self._groups.extend(zip(groups, optimizer.param_groups, strict=True))

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for optimizer in self._all:
            optimizer.zero_grad(set_to_none=True)

    def step(self, learning_rates: Mapping[str, float], weight_decay: float) -> None:
        """Step, each group at its learning rate; `weight_decay` is for the groups that decay."""
        for group, options in self._groups:
            options["lr"] = learning_rates[group.name]
            options["weight_decay"] = weight_decay if group.decays else 0.0
        for optimizer in self._all:
            optimizer.step()

    def tensors(self, model: nn.Module) -> dict[str, Tensor]:
        """The state: `<parameter>/<what>`. Empty before the first step."""
        return {
            f"{name}/{what}": value
            for name, parameter in model.named_parameters()
            for what, value in self._holders[parameter].state.get(parameter, {}).items()
        }

    def restore(self, model: nn.Module, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Take up what `tensors` gave."""
        by_name = dict(model.named_parameters())
        for key, tensor in tensors.items():
            name, what = key.rsplit("/", 1)
            # AdamW's fused step wants its step counts on the parameter's device, like the rest.
            self._holders[by_name[name]].state[by_name[name]][what] = tensor.to(device)


def by_muon(group: ParameterGroup, parameter: nn.Parameter) -> bool:
    """Whether Muon steps `parameter`: it is made for matrices alone."""
    return group.muon and parameter.ndim == 2


def make_adamw(groups: Sequence[tuple[ParameterGroup, list[nn.Parameter]]], *, eps: float) -> torch.optim.AdamW:
    """AdamW over the groups' parameters."""
    return torch.optim.AdamW(
        [{"params": own, "lr": group.learning_rate, "betas": group.betas} for group, own in groups],
        eps=eps,
        weight_decay=0.0,
        fused=True,
    )


def global_grad_norm(model: nn.Module) -> Tensor:
    """L2 norm over all gradients, accumulated in float64; a scalar on the device."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    # All norms in a few kernels: on a GPU one a parameter would take longer to launch than to run.
    norms = torch._foreach_norm(gradients, 2, dtype=torch.float64)
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return norm
