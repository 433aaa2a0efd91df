"""One step of stochastic gradient descent."""

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from worker.config.schedule import TrainingSchedule
from worker.pretext.task import Scored
from worker.stages.precision import Precision, autocast
from worker.stages.randomness import derived_seed
from worker.stages.task import Indices, TrainingTask


class Stepper:
    """Trains `network` (the task's own, or a throwaway copy of it) step by step."""

    def __init__(
        self, task: TrainingTask, network: nn.Module, schedule: TrainingSchedule, precision: Precision, seed: int
    ) -> None:
        self.network = network
        self.optimizer = make_optimizer(network, schedule)
        self._task = task
        self._precision = precision
        self._seed = seed

    def step(self, images: Tensor, indices: Indices, step: int, rate: float) -> Scored:
        """The step number `step` on `images`, uint8 (N, 3, side, side), at the learning rate `rate`."""
        examples = self._task.examples(images, indices, step)
        # Dropout draws from the global generator: seeded anew it depends on nothing but the step.
        torch.manual_seed(derived_seed(self._seed, "dropout", step))
        self.network.train()
        with autocast(self._precision, images.device):
            outputs = as_float(self.network(*examples.inputs))
        scored = self._task.score(outputs, examples.targets)
        self.optimizer.zero_grad()
        torch.autograd.backward(scored.loss)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        return Scored(scored.loss.detach(), scored.answers, scored.correct)


def as_float(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A network's outputs in float32, in which losses are computed."""
    return tuple(output.float() for output in (outputs if isinstance(outputs, tuple) else (outputs,)))


def make_optimizer(network: nn.Module, schedule: TrainingSchedule) -> Optimizer:
    """SGD or Adam that decays weights only, neither biases (SPEC 3.4) nor normalisation; the release's doubled learning
    rate of biases is left out (our choice)."""
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": weights, "weight_decay": schedule.weight_decay}, {"params": others, "weight_decay": 0.0}]
    fused = weights[0].device.type in ("cpu", "cuda")
    if schedule.optimizer == "adam":
        return Adam(groups, lr=schedule.lr, betas=(schedule.momentum, schedule.beta2), fused=fused)
    nesterov = schedule.nesterov and schedule.momentum > 0
    return SGD(groups, lr=schedule.lr, momentum=schedule.momentum, nesterov=nesterov, fused=fused)
