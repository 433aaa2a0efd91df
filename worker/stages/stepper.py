"""One step of stochastic gradient descent."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD

from worker.config.schedule import TrainingSchedule
from worker.stages.precision import Precision, autocast
from worker.stages.randomness import derived_seed
from worker.stages.task import Indices, TrainingTask


@dataclass(frozen=True, slots=True)
class StepResult:
    """On the device; reading it waits for the device."""

    loss: Tensor
    """() float32, mean over the answers."""
    correct: Tensor
    """() int64."""
    answers: int


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

    def step(self, images: Tensor, indices: Indices, step: int, rate: float) -> StepResult:
        """The step number `step` on `images`, uint8 (N, 3, side, side), at the learning rate `rate`."""
        examples = self._task.examples(images, indices, step)
        # Dropout draws from the global generator: seeded anew it depends on nothing but the step.
        torch.manual_seed(derived_seed(self._seed, "dropout", step))
        self.network.train()
        with autocast(self._precision, images.device):
            logits = self.network(*examples.inputs).float()
        loss = functional.cross_entropy(logits, examples.targets, label_smoothing=self._task.label_smoothing)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        correct = (logits.detach().argmax(1) == examples.targets).sum()
        return StepResult(loss.detach(), correct, len(logits))


def make_optimizer(network: nn.Module, schedule: TrainingSchedule) -> SGD:
    """SGD that decays weights only, neither biases (SPEC 3.4) nor normalisation; the release's doubled learning rate
    of biases is left out (our choice)."""
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": weights, "weight_decay": schedule.weight_decay}, {"params": others, "weight_decay": 0.0}]
    device = weights[0].device
    return SGD(
        groups,
        lr=schedule.lr,
        momentum=schedule.momentum,
        nesterov=schedule.nesterov and schedule.momentum > 0,
        fused=device.type in ("cpu", "cuda"),
    )
