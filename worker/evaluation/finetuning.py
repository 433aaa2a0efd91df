"""Training layers of a given network for an evaluation: what lies below is frozen, what lies above learns."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.backbone import map_shape
from models.checkpoint import CheckpointRecord
from models.layers import init_he
from models.pixels import Pixels
from worker.config.probe import LowShotProtocol, Protocol
from worker.config.reasons import Reason
from worker.data.loader import BatchLoader
from worker.data.store import ImageStore
from worker.evaluation.image_cache import Rows, in_order
from worker.evaluation.journal import Journal, fingerprint
from worker.evaluation.loss_curves import LossCurves
from worker.evaluation.pulse import Pulse
from worker.evaluation.score import Outcome, outcome, packed_outcome, unpacked_outcome
from worker.evaluation.split import ProbeSplit
from worker.evaluation.subset import teaching_subset
from worker.evaluation.taps import View
from worker.stages.contract import Context, StageError
from worker.stages.crops import centre_crops, mirrored_at_random, random_crops
from worker.stages.frozen import opened_checkpoint
from worker.stages.machine_errors import machine_errors
from worker.stages.precision import Precision, autocast, fast_arithmetic
from worker.stages.randomness import derived_seed, numpy_generator, torch_generator

MOMENTUM = 0.9
DROPOUT = 0.5
LAST_STD = 0.01
"""Standard deviation of a new last layer's weights (SPEC 8.1)."""
LOW_SHOT_BATCH = 64
LOW_SHOT_DECAY = 5e-4


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


@dataclass(frozen=True)
class Batch:
    """What a step learns from."""

    inputs: Mapping[str, Tensor]
    """Learner -> its input."""
    loss: Callable[[Tensor], Tensor]
    """float32 logits -> ()."""


@dataclass(frozen=True)
class CrossEntropy:
    labels: Tensor
    """(N,) int64."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits (N, classes) -> ()."""
        return functional.cross_entropy(logits, self.labels)


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


class Training:
    """Learners side by side that see the same batches: what a `Journal` saves and restores."""

    def __init__(self, learners: Mapping[str, Learner], steps: int, curve: str) -> None:
        self.step = 0
        self.seconds = 0.0
        """Spent on steps, in earlier attempts too."""
        self._learners = learners
        self._steps = steps
        self._curves = LossCurves({name: f"{curve}_{name}" for name in learners}, steps)

    @property
    def losses(self) -> dict[str, float]:
        """Each learner's mean loss over the last fiftieth of the steps."""
        return self._curves.last

    def state(self) -> dict[str, Any]:
        """Raises `StageError(diverged)`."""
        self._curves.check(self.step)
        return {
            "step": self.step,
            "seconds": self.seconds,
            "curves": self._curves.state(),
            "learners": {name: learner.state() for name, learner in self._learners.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.step, self.seconds = state["step"], state["seconds"]
        self._curves.restore(state["curves"])
        for name, learner in self._learners.items():
            learner.restore(state["learners"][name])

    def run(self, batches: Iterator[Batch], pulse: Pulse, journal: Journal) -> None:
        """To the end, by batches of the steps that are left. Raises `Stopped` and `StageError(diverged)`."""
        for learner in self._learners.values():
            learner.training_mode()
        mark = time.monotonic()
        for _, batch in zip(range(self.step, self._steps), batches, strict=False):
            for name, learner in self._learners.items():
                self._curves.add(name, learner.step(batch.inputs[name], batch.loss, self.step, self.step / self._steps))
            self.step += 1
            self._curves.after_step(self.step, pulse.context)
            self.seconds += time.monotonic() - mark
            pulse.beat()
            journal.keep_time()
            mark = time.monotonic()
        self._curves.check(self.step)
        self.seconds += time.monotonic() - mark


def fit(
    learners: Mapping[str, Learner],
    batches: Callable[[int], Iterator[Batch]],
    steps: int,
    pulse: Pulse,
    journal: Journal,
    curve: str,
) -> Training:
    """Trains every learner for `steps` on its inputs of each batch, or for those that an earlier attempt left;
    `batches(first)` are those from step `first` on. The metric `<curve>_<learner>` follows the loss, and `curve` names
    the training in the journal.

    Raises `Stopped`, and `StageError(diverged)` for a loss that is no number.
    """
    training = Training(learners, steps, curve)
    journal.begin(curve, training, steps, pulse)
    training.run(batches(training.step), pulse, journal)
    return training


def training_rows(count: int, batch: int, steps: int, seed: int) -> Iterator[Rows]:
    """`steps` arrays of `batch` rows out of 0 .. count - 1, at most all: every epoch in an order of its own, drawn by
    (seed, epoch), its incomplete last batch dropped."""
    batch = min(batch, count)
    each = count // batch
    for epoch in range(math.ceil(steps / each)):
        order = numpy_generator(seed, "epoch", epoch).permutation(count)
        for step in range(min(each, steps - epoch * each)):
            yield order[step * batch : (step + 1) * batch]


def new_head(inputs: int, hidden: int, width: int, outputs: int, batch_norm: bool = False) -> nn.Sequential:
    """`hidden` layers of `width` under dropout and ReLU, and a linear layer on top (AlexNet's fc6, fc7, fc8 for two).

    Takes flat rows (N, inputs). Hidden layers start as in He et al., the last as N(0, 0.01); drawn from torch's global
    generator.
    """
    layers: list[nn.Module] = []
    for _ in range(hidden):
        norm = [nn.BatchNorm1d(width)] if batch_norm else []
        layers += [nn.Dropout(DROPOUT), nn.Linear(inputs, width), *norm, nn.ReLU(inplace=True)]
        inputs = width
    last = nn.Linear(inputs, outputs)
    init_he([*layers, last])
    nn.init.normal_(last.weight, std=LAST_STD)
    return nn.Sequential(*layers, last)


def check_input(record: CheckpointRecord, crop: int) -> None:
    """Raises `StageError(bad_config)` for a crop that the network shrinks to nothing."""
    try:
        map_shape(record.backbone, crop)
    except RuntimeError as error:
        message = f"A crop of {crop} pixels leaves nothing of this network's last map: choose a larger one."
        raise StageError(Reason.bad_config, message) from error


def own_randomness(device: torch.device) -> AbstractContextManager[None]:
    """Torch's global generators, which new layers and dropout draw from, are afterwards as they were."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


class LabelledImages:
    """The images of a split that teach, or those that judge, with their classes, on the device."""

    def __init__(self, store: ImageStore, split: ProbeSplit, rows: Rows, view: View, device: torch.device) -> None:
        """`rows` are positions in `split.images`."""
        self.labels = torch.from_numpy(split.labels[rows]).to(device)
        self.crop = view.crop
        self._images = split.images[rows]
        self._side = view.side
        self._store = store

    def __len__(self) -> int:
        return len(self.labels)

    def shown(self, batch: int, steps: int, seed: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """`steps` random batches, less the `first` ones: uint8 random crops (N, 3, crop, crop), half of them mirrored,
        and their classes."""
        order = list(training_rows(len(self), batch, steps, seed))[first:]
        for step, (images, rows) in enumerate(zip(self._read(order), order, strict=True), start=first):
            generator = torch_generator(seed, "crops", step)
            crops = mirrored_at_random(random_crops(images, self.crop, 1, generator), generator)
            yield crops, self.labels[torch.from_numpy(rows).to(self.labels.device, non_blocking=True)]

    def batches(self, batch: int) -> int:
        """How many `in_order` yields."""
        return math.ceil(len(self) / batch)

    def in_order(self, batch: int) -> Iterator[Tensor]:
        """Whole images, uint8 (N, 3, side, side)."""
        yield from self._read(list(in_order(len(self), batch)))

    def _read(self, rows: Sequence[Rows]) -> Iterator[Tensor]:
        with BatchLoader(self._store, [self._images[part] for part in rows], self._side, self.labels.device) as loader:
            yield from loader


def probe_fingerprint(
    protocol: Protocol, checkpoint: Path, store: ImageStore, split: ProbeSplit, view: View, precision: Precision
) -> str:
    """Names all that an evaluation on labelled images depends on."""
    parts = (split.images, split.labels, split.held_out)
    digests = [hashlib.sha256(part.tobytes()).hexdigest() for part in parts]
    return fingerprint(protocol, checkpoint, store.digest, digests, view.side, view.crop, precision)


def low_shot_finetuning(
    protocol: LowShotProtocol,
    checkpoint: Path,
    store: ImageStore,
    split: ProbeSplit,
    view: View,
    device: torch.device,
    precision: Precision,
    context: Context,
) -> dict[str, Outcome]:
    """The whole network learns from a share of the labels; columns `finetune_<share>`.

    The checkpoint's convolutions under a new linear layer on the 6 x 6 map after pool5: AlexNet's large layers don't
    learn from a handful of images. Random crops and mirroring, a half cosine, batch norm in training mode; judged on
    the centre crop (our choices). A stopped evaluation goes on where it was.
    """
    journal = Journal(context, probe_fingerprint(protocol, checkpoint, store, split, view, precision))
    with machine_errors("fine-tuning"), fast_arithmetic(device), own_randomness(device):
        return _LowShots(protocol, checkpoint, store, split, view, device, precision, context, journal).outcomes()


class _LowShots:
    """A network for every share of the labels and every seed."""

    def __init__(
        self,
        protocol: LowShotProtocol,
        checkpoint: Path,
        store: ImageStore,
        split: ProbeSplit,
        view: View,
        device: torch.device,
        precision: Precision,
        context: Context,
        journal: Journal,
    ) -> None:
        self._protocol = protocol
        self._checkpoint = checkpoint
        self._store = store
        self._split = split
        self._view = view
        self._device = device
        self._precision = precision
        self._journal = journal
        self._held_out = self._images(split.held_out)
        self._each = protocol.steps + self._held_out.batches(protocol.batch)
        self._pulse = Pulse(context, len(protocol.shares) * len(protocol.seeds) * self._each)

    def outcomes(self) -> dict[str, Outcome]:
        return {f"finetune_{share:g}": self._of_share(share) for share in self._protocol.shares}

    def _of_share(self, share: float) -> Outcome:
        protocol, taught = self._protocol, []
        for seed in protocol.seeds:
            rows = teaching_subset(self._split, share, seed)
            name = f"finetune_{share:g}_{seed}"
            make = partial(self._judged, name, seed, rows)
            taught.append(self._journal.result(name, make, self._pulse, self._each))
        return unpacked_outcome(taught, labels=int(rows.sum()), steps=protocol.steps, lr=protocol.lr)

    def _judged(self, name: str, seed: int, rows: NDArray[np.bool_]) -> dict[str, Any]:
        """What a network tells right that learnt from `rows` of the split."""
        learner, pixels = self._learner(seed)
        images = self._images(rows)

        def batches(first: int) -> Iterator[Batch]:
            for crops, labels in images.shown(LOW_SHOT_BATCH, self._protocol.steps, seed, first):
                yield Batch({"network": pixels.apply(crops)}, CrossEntropy(labels))

        fit({"network": learner}, batches, self._protocol.steps, self._pulse, self._journal, name)
        parts = []
        for whole in self._held_out.in_order(self._protocol.batch):
            parts.append(learner.logits(pixels.apply(centre_crops(whole, self._view.crop))))
            self._pulse.beat()
        return packed_outcome(outcome([torch.cat(parts)], self._held_out.labels))

    def _learner(self, seed: int) -> tuple[Learner, Pixels]:
        """With the pixels it wants."""
        record, backbone = opened_checkpoint(self._checkpoint)
        check_input(record, self._view.crop)
        torch.manual_seed(derived_seed(seed, "new layers"))
        head = new_head(backbone.out_channels * 36, 0, 0, len(self._split.classes))
        network = nn.Sequential(backbone, nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Dropout(DROPOUT), *head)
        recipe = Recipe(self._protocol.lr, LOW_SHOT_DECAY, half_cosine)
        return Learner(network, recipe, seed, "network", self._device, self._precision), record.pixels

    def _images(self, rows: NDArray[np.bool_]) -> LabelledImages:
        return LabelledImages(self._store, self._split, np.flatnonzero(rows), self._view, self._device)
