"""Feature distillation: the student regresses the maps of the teacher's last layers, "[37]" (SPEC 7.3)."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.backbone import Backbone, build_backbone, map_shape
from models.checkpoint import CheckpointRecord
from models.pixels import ImagenetPixels
from worker.config.reasons import Reason
from worker.config.regress import RegressConfig
from worker.data.store import ImageStore
from worker.pretext.task import Examples, Scored
from worker.stages.checkpoint import write_checkpoint
from worker.stages.contract import Context, Inputs, Produced, Result, StageError
from worker.stages.crops import centre_crops
from worker.stages.frozen import FrozenNetwork, checkpoint_facts, opened_checkpoint
from worker.stages.machine_errors import machine_errors
from worker.stages.precision import Precision, autocast, resolved_precision, usable_device
from worker.stages.pseudo_labels import held_out
from worker.stages.randomness import derived_seed, numpy_generator, torch_generator
from worker.stages.standalone import main
from worker.stages.stepper import as_float
from worker.stages.student import batches_in_order, fitted_to, random_views
from worker.stages.task import Indices
from worker.stages.training import train

STATISTICS_IMAGES = 1024
"""Our choice: the teacher's channels are standardised by this many images."""
DEAD = 1e-6
"""A channel whose standard deviation is below this share of its tap's largest teaches nothing."""
LOOKS = 20


class RegressInputs(Inputs):
    store: Path
    teacher: Path


class RegressResult(Result):
    student: Produced


def run(config: RegressConfig, inputs: RegressInputs, context: Context) -> RegressResult:
    """The student has no head: only its convolutions learn, up to the deepest of `taps`.

    Raises `StageError` with bad_config, too_few_images, images_too_small, device_unavailable, diverged, ...
    """
    device = usable_device(context.device)
    store = ImageStore.open(inputs.store)
    config = fitted_to(config, store)
    record, backbone = opened_checkpoint(inputs.teacher)
    _check_taps(config, record, backbone, context)
    held = held_out(store.paths, config.holdout, config.seed)
    split = (np.flatnonzero(~held), np.flatnonzero(held))
    if len(split[0]) < 2:
        raise StageError(Reason.too_few_images, f"Only {len(split[0])} images are left to train on.")
    teacher = FrozenNetwork(backbone, record.pixels, device, resolved_precision(config.schedule.precision, device))
    with machine_errors("looking at the teacher's maps"):
        task = RegressionTask(config, store, teacher, split, device)
    told = checkpoint_facts(inputs.teacher, record)
    data = hashlib.sha256(f"{store.digest} {told['weights_sha256']}".encode()).hexdigest()
    facts, config = train(task, config, data, device, context)
    facts |= {"dataset": store.digest, "photographs": store.photographs, "images": store.count}
    facts |= {"teacher": told, "taps": list(config.taps)}
    facts |= {"images_trained": len(split[0]), "images_held_out": len(split[1])}
    return RegressResult(student=_write(task.network, config, facts, context.workdir / "student"))


def _check_taps(config: RegressConfig, record: CheckpointRecord, backbone: Backbone, context: Context) -> None:
    for tap in config.taps:
        if tap not in backbone.tap_channels:
            message = f"The teacher has no tap {tap!r}; it has {', '.join(backbone.tap_channels)}."
            raise StageError(Reason.bad_config, message)
    if "conv5" not in config.taps:
        context.log(f"Layers after {max(config.taps)} keep their random weights: no tap after it is asked for.")
    try:
        map_shape(record.backbone, int(config.crop), max(config.taps))
    except RuntimeError as error:
        message = f"Crops of {config.crop} px are too small for the teacher, a {record.backbone.arch}: {error}."
        raise StageError(Reason.images_too_small, message) from error


@dataclass(frozen=True, slots=True)
class Standard:
    """Mean and reciprocal deviation of a tap's channels, `(C, 1, 1)` each; 0 in place of a dead channel's."""

    mean: Tensor
    scale: Tensor

    def apply(self, maps: Tensor) -> Tensor:
        return (maps.float() - self.mean) * self.scale


class RegressionNetwork(nn.Module):
    """A student whose maps are brought to the teacher's channels by a 1x1 convolution a tap, thrown away later."""

    def __init__(self, backbone: Backbone, channels: dict[str, int]) -> None:
        super().__init__()
        self.backbone = backbone
        own = backbone.tap_channels
        self.adapters = nn.ModuleDict({tap: nn.Conv2d(own[tap], count, 1) for tap, count in channels.items()})

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, crop, crop) -> a tap's (N, C of the teacher, h, w) each."""
        maps = self.backbone.taps(images, list(self.adapters))
        return tuple(adapter(maps[tap]) for tap, adapter in self.adapters.items())


class RegressionTask:
    """Telling the teacher's maps of the same crop, each channel standardised."""

    looks = LOOKS
    chance_accuracy = None

    def __init__(
        self,
        config: RegressConfig,
        store: ImageStore,
        teacher: FrozenNetwork,
        split: tuple[Indices, Indices],
        device: torch.device,
    ) -> None:
        self.store = store
        self.side = int(config.side)
        self.network = regression_network(config, teacher.backbone)
        self._config = config
        self._crop = int(config.crop)
        self._teacher = teacher
        self._trained, self._held_out = split
        self._pixels = ImagenetPixels()
        self._sizes = [map_shape(config.backbone, self._crop, tap)[1] for tap in config.taps]
        self._standards = self._measured(device)
        # Who always answers with the mean errs by the variance: 1 in every channel that isn't dead.
        alive = [(standard.scale > 0).float().mean() for standard in self._standards]
        self.chance_loss = float(torch.stack(alive).mean())
        if not self.chance_loss:
            taps = ", ".join(config.taps)
            raise StageError(Reason.bad_config, f"The teacher's {taps} are the same for all images: nothing to learn.")

    def epoch_order(self, epoch: int) -> Indices:
        return numpy_generator(self._config.seed, "epoch", epoch).permutation(self._trained)

    def examples(self, images: Tensor, indices: Indices, step: int) -> Examples:
        views = random_views(images, self._config, torch_generator(self._config.seed, "crops", step))
        return self._examples(views)

    def score(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Scored:
        """Mean squared error, each tap weighing the same."""
        errors = [functional.mse_loss(output, target) for output, target in zip(outputs, targets, strict=True)]
        return Scored(loss=torch.stack(errors).mean(), answers=len(outputs[0]))

    @torch.no_grad()
    def monitor(self, network: nn.Module, precision: Precision) -> dict[str, float]:
        """Loss on the images held out, centre crops."""
        if not len(self._held_out):
            return {}
        network.eval()
        device = next(network.parameters()).device
        loss = torch.zeros((), device=device)
        for views in self._centre_views(self._held_out, device):
            examples = self._examples(views)
            with autocast(precision, device):
                outputs = as_float(network(*examples.inputs))
            loss += self.score(outputs, examples.targets).loss * len(views)
        return {"holdout_loss": float(loss) / len(self._held_out)}

    def _examples(self, views: Tensor) -> Examples:
        maps = self._teacher_maps(views)
        targets = tuple(standard.apply(map_) for standard, map_ in zip(self._standards, maps, strict=True))
        return Examples((self._pixels.apply(views),), targets)

    def _teacher_maps(self, views: Tensor) -> Sequence[Tensor]:
        """The teacher's maps of these crops at the student's resolution, average-pooled (SPEC 7.3)."""
        maps = self._teacher.taps(views, self._config.taps, self._crop)
        # Outside of inference mode: these are targets of a loss that is differentiated.
        return [
            functional.adaptive_avg_pool2d(maps[tap], size)
            for tap, size in zip(self._config.taps, self._sizes, strict=True)
        ]

    def _measured(self, device: torch.device) -> list[Standard]:
        """Each tap's statistics over centre crops of a sample of the training images."""
        generator = numpy_generator(self._config.seed, "statistics")
        chosen = np.sort(generator.permutation(self._trained)[:STATISTICS_IMAGES])
        sums: list[list[Tensor]] = [[] for _ in self._config.taps]
        for views in self._centre_views(chosen, device):
            for found, maps in zip(sums, self._teacher_maps(views), strict=True):
                values = maps.double()
                weight = len(views) / len(chosen)
                found.append(torch.stack([values.mean((0, 2, 3)), values.square().mean((0, 2, 3))]) * weight)
        return [_standard(*torch.stack(found).sum(0)) for found in sums]

    def _centre_views(self, indices: Indices, device: torch.device) -> Iterator[Tensor]:
        batch = self._config.schedule.batch
        for images, _ in batches_in_order(self.store, indices, batch, self.side, device):
            yield centre_crops(images, self._crop)


def regression_network(config: RegressConfig, teacher: Backbone) -> RegressionNetwork:
    """Fresh weights by the config's seed; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, "weights"))
        return RegressionNetwork(
            build_backbone(config.backbone), {tap: teacher.tap_channels[tap] for tap in config.taps}
        )


def _standard(mean: Tensor, mean_square: Tensor) -> Standard:
    deviation = (mean_square - mean.square()).clamp_min(0).sqrt()
    alive = deviation > DEAD * deviation.max()
    scale = torch.where(alive, 1 / deviation.clamp_min(torch.finfo(deviation.dtype).tiny), torch.zeros_like(deviation))
    return Standard(mean.float()[:, None, None], scale.float()[:, None, None])


def _write(network: RegressionNetwork, config: RegressConfig, facts: dict[str, Any], folder: Path) -> Produced:
    record = CheckpointRecord(
        role="student",
        backbone=config.backbone,
        crop=int(config.crop),
        pixels=ImagenetPixels(),
        classes=0,
        training=facts | {"config": config.model_dump(mode="json")},
    )
    return write_checkpoint(folder, record, network.backbone, None)


if __name__ == "__main__":
    main(run, RegressConfig, RegressInputs)
