"""Cluster classification: the student learns the pseudo-labels from scratch (paper section 3; SPEC section 5)."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.backbone import Backbone, build_backbone
from models.checkpoint import CheckpointRecord, save_checkpoint
from models.heads import ClassifierHead
from models.pixels import ImagenetPixels
from worker.config.classify import ClassifyConfig
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.data.store import ImageStore
from worker.pretext.task import Examples, Scored, chance_of, told_apart
from worker.stages.contract import Context, Inputs, Produced, Result, StageError
from worker.stages.crops import centre_crops, greyed_at_random
from worker.stages.machine_errors import machine_errors
from worker.stages.precision import Precision, autocast, usable_device
from worker.stages.pseudo_labels import PseudoLabels, Split, balanced_order, read_labels, split_images
from worker.stages.randomness import derived_seed, numpy_generator, torch_generator
from worker.stages.standalone import main
from worker.stages.student import batches_in_order, fitted_to, random_views
from worker.stages.task import Indices
from worker.stages.training import train


class ClassifyInputs(Inputs):
    store: Path
    labels: Path


class ClassifyResult(Result):
    student: Produced


def run(config: ClassifyConfig, inputs: ClassifyInputs, context: Context) -> ClassifyResult:
    """Raises `StageError` with bad_labels, too_few_images, images_too_small, device_unavailable, diverged, ..."""
    device = usable_device(context.device)
    store = ImageStore.open(inputs.store)
    labels = read_labels(inputs.labels, store.count)
    config = fitted_to(config, store)
    split = split_images(labels, store.paths, config.holdout, config.seed)
    if len(split.trained) < 2:
        raise StageError(Reason.too_few_images, f"Only {len(split.trained)} labelled images are left to train on.")
    task = ClusterTask(config, store, labels, split)
    data = hashlib.sha256(f"{store.digest} {labels.classes}".encode() + labels.values.tobytes()).hexdigest()
    facts, config = train(task, config, data, device, context)
    facts |= {"dataset": store.digest, "images": store.count}
    facts |= {"clusters": labels.classes, "images_trained": len(split.trained), "images_held_out": len(split.held_out)}
    if len(split.held_out):
        context.log(
            f"Of {len(split.held_out)} held-out images {facts['holdout_accuracy']:.1%} are told their cluster "
            f"(chance {facts['chance_accuracy']:.1%})."
        )
    return ClassifyResult(student=_write(task.network, config, facts, context.workdir / "student"))


class ClusterClassifier(nn.Module):
    def __init__(self, backbone: Backbone, head: ClassifierHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, crop, crop) -> logits (N, clusters)."""
        logits: Tensor = self.head(self.backbone(images))
        return logits


class ClusterTask:
    """Telling an image's cluster."""

    def __init__(self, config: ClassifyConfig, store: ImageStore, labels: PseudoLabels, split: Split) -> None:
        self.store = store
        self.side = int(config.side)
        self.chance_loss, self.chance_accuracy = chance_of(labels.classes)
        self.looks = 200
        self.network = cluster_classifier(config, labels.classes)
        self._config = config
        self._crop = int(config.crop)
        self._labels = torch.from_numpy(labels.values)
        self._split = split
        self._pixels = ImagenetPixels()

    def epoch_order(self, epoch: int) -> Indices:
        generator = numpy_generator(self._config.seed, "epoch", epoch)
        if self._config.balance == "images":
            return generator.permutation(self._split.trained)
        return balanced_order(self._split.trained, self._labels.numpy()[self._split.trained], generator)

    def examples(self, images: Tensor, indices: Indices, step: int) -> Examples:
        generator = torch_generator(self._config.seed, "crops", step)
        crops = random_views(images, self._config, generator)
        if self._config.grey:
            crops = greyed_at_random(crops, self._config.grey, generator)
        return Examples((self._pixels.apply(crops),), (self._targets(indices, images.device),))

    def score(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Scored:
        return told_apart(outputs[0], targets[0], self._config.label_smoothing)

    @torch.no_grad()
    def monitor(self, network: nn.Module, precision: Precision) -> dict[str, float]:
        """Loss and accuracy on the images held out, centre crops."""
        if not len(self._split.held_out):
            return {}
        network.eval()
        device = next(network.parameters()).device
        loss = torch.zeros((), dtype=torch.float64, device=device)
        correct = torch.zeros((), dtype=torch.int64, device=device)
        for images, targets in self._held_out(device):
            with autocast(precision, device):
                logits = network(self._pixels.apply(centre_crops(images, self._crop))).float()
            loss += functional.cross_entropy(logits, targets, reduction="sum")
            correct += (logits.argmax(1) == targets).sum()
        count = len(self._split.held_out)
        return {"holdout_loss": float(loss) / count, "holdout_accuracy": float(correct) / count}

    def _held_out(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        batch = self._config.schedule.batch
        for images, indices in batches_in_order(self.store, self._split.held_out, batch, self.side, device):
            yield images, self._targets(indices, device)

    def _targets(self, indices: Indices, device: torch.device) -> Tensor:
        return self._labels[torch.from_numpy(indices)].to(device, non_blocking=True)


def cluster_classifier(config: ClassifyConfig, classes: int) -> ClusterClassifier:
    """Fresh weights by the config's seed; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, "weights"))
        backbone = build_backbone(config.backbone)
        head = ClassifierHead(backbone.out_channels, classes, **_head_arguments(config))
        return ClusterClassifier(backbone, head)


def _head_arguments(config: ClassifyConfig) -> dict[str, Any]:
    return {**config.head.model_dump(), "init": "gaussian" if config.backbone.norm == "lrn" else "he"}


def _write(network: ClusterClassifier, config: ClassifyConfig, facts: dict[str, Any], folder: Path) -> Produced:
    record = CheckpointRecord(
        role="student",
        backbone=config.backbone,
        crop=int(config.crop),
        pixels=ImagenetPixels(),
        classes=facts["clusters"],
        head=_head_arguments(config),
        training=facts | {"config": config.model_dump(mode="json")},
    )
    network.to(memory_format=torch.contiguous_format)
    with machine_errors("writing the student"):
        save_checkpoint(folder, record, network.backbone, network.head)
    return Produced(kind=ArtifactKind.checkpoint, path=folder, summary={"role": record.role, **facts})


if __name__ == "__main__":
    main(run, ClassifyConfig, ClassifyInputs)
