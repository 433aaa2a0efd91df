"""Layers that learn by SGD for an evaluation."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from worker.stages.precision import Precision, autocast
from worker.stages.randomness import derived_seed

MOMENTUM = 0.9


@dataclass(frozen=True)
class Recipe:
    """How layers learn: SGD with momentum 0.9."""

    lr: float
    weight_decay: float
    rate: Callable[[float], float]
    """Share of the training that is done, 0..1 -> share of `lr`."""
    bias_rate: float = 1.0
    """Of biases and normalisation, as a multiple of `lr`."""
    decay_biases: bool = False
    """Whether biases and normalisation decay too."""
    clip_norm: float | None = None
    """Gradients of a larger norm are scaled down to it."""


def half_cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


class Learner:
    """Layers that learn. `seed` and `name` decide its dropout, so other learners beside it change nothing."""

    def __init__(
        self,
        layers: nn.Module,
        recipe: Recipe,
        seed: int,
        name: str,
        device: torch.device,
        precision: Precision,
        fixed_statistics: bool = False,
    ) -> None:
        """`fixed_statistics`: batch norms keep the statistics they come with, also while they learn."""
        self.layers = layers.to(device).to(memory_format=torch.channels_last)
        self._recipe = recipe
        self._seed = seed
        self._name = name
        self._device = device
        self._precision = precision
        self._fixed_statistics = fixed_statistics
        self._parameters = list(self.layers.parameters())
        self._optimizer = self._sgd()

    def training_mode(self) -> None:
        self.layers.train()
        for layer in self.layers.modules():
            if self._fixed_statistics and isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.eval()

    def step(self, inputs: Tensor, loss: Callable[[Tensor], Tensor], step: int, progress: float) -> Tensor:
        """One step of SGD; returns the loss, (), on the device."""
        # Dropout draws from the global generator: seeded anew it depends on nothing but the step.
        torch.manual_seed(derived_seed(self._seed, f"dropout of {self._name}", step))
        with autocast(self._precision, self._device):
            logits = self.layers(inputs)
        value = loss(logits.float())
        self._optimizer.zero_grad()
        torch.autograd.backward(value)
        if self._recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._recipe.clip_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = group["most"] * self._recipe.rate(progress)
        self._optimizer.step()
        return value.detach()

    def state(self) -> dict[str, Any]:
        return {"layers": self.layers.state_dict(), "optimizer": self._optimizer.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.layers.load_state_dict(state["layers"])
        self._optimizer.load_state_dict(state["optimizer"])

    @torch.no_grad()
    def logits(self, inputs: Tensor) -> Tensor:
        """float32, in eval mode; call `training_mode` to go on learning."""
        self.layers.eval()
        with autocast(self._precision, self._device):
            logits: Tensor = self.layers(inputs)
        return logits.float()

    def _sgd(self) -> torch.optim.SGD:
        recipe = self._recipe
        weights = [parameter for parameter in self._parameters if parameter.ndim > 1]
        others = [parameter for parameter in self._parameters if parameter.ndim <= 1]
        decay = recipe.weight_decay if recipe.decay_biases else 0.0
        groups = [
            {"params": weights, "weight_decay": recipe.weight_decay, "most": recipe.lr},
            {"params": others, "weight_decay": decay, "most": recipe.lr * recipe.bias_rate},
        ]
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=MOMENTUM, fused=self._device.type in ("cpu", "cuda"))
