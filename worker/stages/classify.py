"""Cluster classification: the student learns the pseudo-labels from scratch (paper section 3; SPEC section 5)."""

import hashlib
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.backbone import Backbone, build_backbone
from models.checkpoint import CheckpointRecord
from models.heads import ClassifierHead
from models.pixels import ImagenetPixels
from worker.config.classify import ClassifyConfig
from worker.config.reasons import Reason
from worker.data.store import ImageStore
from worker.pretext.task import Examples, Scored, chance_of, told_apart
from worker.stages.checkpoint import write_checkpoint
from worker.stages.contract import Context, Inputs, Produced, Result, StageError
from worker.stages.crops import centre_crops, greyed_at_random
from worker.stages.precision import Precision, autocast, usable_device
from worker.stages.pseudo_labels import (
    PseudoLabels,
    Split,
    balanced_order,
    labelled_in_all,
    read_labels,
    read_soft_labels,
    split_images,
)
from worker.stages.randomness import derived_seed, numpy_generator, torch_generator
from worker.stages.standalone import main
from worker.stages.stepper import as_float
from worker.stages.student import batches_in_order, fitted_to, random_views
from worker.stages.task import Indices
from worker.stages.training import train


class ClassifyInputs(Inputs):
    store: Path
    labels: Path
    labels2: Path | None = None
    labels3: Path | None = None
    labels4: Path | None = None
    """Other clusterings of the same images, learnt beside the first by heads of their own, which are thrown away."""


class ClassifyResult(Result):
    student: Produced


def run(config: ClassifyConfig, inputs: ClassifyInputs, context: Context) -> ClassifyResult:
    """Raises `StageError` with bad_labels, too_few_images, images_too_small, device_unavailable, diverged, ..."""
    device = usable_device(context.device)
    store = ImageStore.open(inputs.store)
    labels, *further = _read_all(config, inputs, store.count)
    labels = labelled_in_all(labels, further)
    config = fitted_to(config, store)
    split = split_images(labels, store.paths, config.holdout, config.seed)
    if len(split.trained) < 2:
        raise StageError(Reason.too_few_images, f"Only {len(split.trained)} labelled images are left to train on.")
    task = ClusterTask(config, store, labels, split, further)
    data = _digest(store, [labels, *further])
    facts, config = train(task, config, data, device, context)
    facts |= {"dataset": store.digest, "photographs": store.photographs, "images": store.count}
    facts |= {"clusters": labels.classes, "images_trained": len(split.trained), "images_held_out": len(split.held_out)}
    if labels.holdout is not None:
        facts["class_labels_holdout"] = labels.holdout
    if further:
        facts["further_clusters"] = [other.classes for other in further]
    if len(split.held_out):
        context.log(
            f"Of {len(split.held_out)} held-out images {facts['holdout_accuracy']:.1%} are told their cluster "
            f"(chance {facts['chance_accuracy']:.1%})."
        )
    return ClassifyResult(student=_write(task.network, config, facts, context.workdir / "student"))


def _read_all(config: ClassifyConfig, inputs: ClassifyInputs, count: int) -> list[PseudoLabels]:
    given = (inputs.labels, inputs.labels2, inputs.labels3, inputs.labels4)
    folders = [folder for folder in given if folder is not None]
    read = [read_labels(folder, count) for folder in folders]
    if not config.soft:
        return read
    return [read_soft_labels(folder, labels) for folder, labels in zip(folders, read, strict=True)]


def _digest(store: ImageStore, label_sets: Sequence[PseudoLabels]) -> str:
    """Of all that is trained on."""
    digest = hashlib.sha256(store.digest.encode())
    for labels in label_sets:
        digest.update(f" {labels.classes}".encode() + labels.values.tobytes())
        if labels.soft is not None:
            digest.update(labels.soft.clusters.tobytes() + labels.soft.shares.tobytes())
    return digest.hexdigest()


class ClusterClassifier(nn.Module):
    """A student; `further` layers tell other clusterings from the same fc7 while it learns."""

    def __init__(self, backbone: Backbone, head: ClassifierHead, further: Sequence[int] = ()) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.further = nn.ModuleList(_last_layer(head.width, classes) for classes in further)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, crop, crop) -> logits (N, clusters) of each clustering."""
        maps = self.head.avgpool(self.backbone(images)).flatten(1)
        fc7 = self.head.classifier[:-1](maps)
        return (self.head.classifier[-1](fc7), *(layer(fc7) for layer in self.further))


def _last_layer(width: int, classes: int) -> nn.Linear:
    """As the classifier's own."""
    layer = nn.Linear(width, classes)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


class ClusterTask:
    """Telling an image's cluster."""

    def __init__(
        self,
        config: ClassifyConfig,
        store: ImageStore,
        labels: PseudoLabels,
        split: Split,
        further: Sequence[PseudoLabels] = (),
    ) -> None:
        self.store = store
        self.side = int(config.side)
        label_sets = (labels, *further)
        self.chance_loss = statistics.mean(chance_of(each.classes)[0] for each in label_sets)
        self.chance_accuracy = chance_of(labels.classes)[1]
        self.looks = 200
        self.network = cluster_classifier(config, labels.classes, [other.classes for other in further])
        self._config = config
        self._crop = int(config.crop)
        self._labels = torch.from_numpy(labels.values)
        self._targets_by_image = [
            torch.from_numpy(values) for each in label_sets for values in _target_values(each, config.soft)
        ]
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
        chosen = torch.from_numpy(indices)
        targets = (values[chosen].to(images.device, non_blocking=True) for values in self._targets_by_image)
        return Examples((self._pixels.apply(crops),), tuple(targets))

    def score(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Scored:
        """The mean over the clusterings; right is who tells the first's nearest cluster."""
        smoothing = self._config.label_smoothing
        if self._config.soft:
            pairs = zip(outputs, targets[::2], targets[1::2], strict=True)
            scored = [told_softly(logits, clusters, shares, smoothing) for logits, clusters, shares in pairs]
        else:
            scored = [told_apart(logits, labels, smoothing) for logits, labels in zip(outputs, targets, strict=True)]
        loss = torch.stack([each.loss for each in scored]).mean()
        return Scored(loss=loss, answers=scored[0].answers, correct=scored[0].correct)

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
                logits = as_float(network(self._pixels.apply(centre_crops(images, self._crop))))[0]
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


def _target_values(labels: PseudoLabels, soft: bool) -> tuple[NDArray[Any], ...]:
    if not soft:
        return (labels.values,)
    assert labels.soft is not None  # `_read_all` has seen to it
    return labels.soft.clusters, labels.soft.shares


def told_softly(logits: Tensor, clusters: Tensor, shares: Tensor, label_smoothing: float) -> Scored:
    """Cross-entropy of logits (N, classes) against shares (N, m) of the clusters (N, m), the nearest first."""
    logs = logits.log_softmax(1)
    told = (shares * logs.gather(1, clusters)).sum(1)
    loss = -((1 - label_smoothing) * told + label_smoothing * logs.mean(1)).mean()
    return Scored(loss=loss, answers=len(logits), correct=(logits.detach().argmax(1) == clusters[:, 0]).sum())


def cluster_classifier(config: ClassifyConfig, classes: int, further: Sequence[int] = ()) -> ClusterClassifier:
    """Fresh weights by the config's seed; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, "weights"))
        backbone = build_backbone(config.backbone)
        head = ClassifierHead(backbone.out_channels, classes, **_head_arguments(config))
        return ClusterClassifier(backbone, head, further)


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
    return write_checkpoint(folder, record, network.backbone, network.head)


if __name__ == "__main__":
    main(run, ClassifyConfig, ClassifyInputs)
