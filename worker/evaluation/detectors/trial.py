"""One detector per seed: trained, then shown the test images; what is done is kept for a later attempt."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from models.backbone import Backbone
from models.pixels import Pixels
from worker.config.transfer import VocDetectionProtocol
from worker.evaluation.detection_ap import Boxes
from worker.evaluation.detectors.detector import Detector, Found
from worker.evaluation.detectors.fast_rcnn import FastRcnn, FastRcnnNetwork
from worker.evaluation.detectors.faster_rcnn import FasterRcnn, faster_rcnn_network
from worker.evaluation.detectors.scenes import KeptScenes, read_scenes
from worker.evaluation.detectors.task import DetectionTask
from worker.evaluation.detectors.trunk import DetectionTrunk
from worker.evaluation.detectors.tuning import Tuning
from worker.evaluation.journal import Journal
from worker.evaluation.pulse import Pulse
from worker.stages.contract import Context
from worker.stages.precision import Precision
from worker.stages.randomness import derived_seed


@dataclass(frozen=True)
class Trial:
    """What one seed's detector did."""

    detections: dict[str, Boxes]
    """By column."""
    facts: dict[str, Any]
    unchanged: bool | None


class Trials:
    """Of one backbone at one task."""

    def __init__(
        self,
        protocol: VocDetectionProtocol,
        pixels: Pixels,
        backbone: Backbone,
        task: DetectionTask,
        device: torch.device,
        context: Context,
        journal: Journal,
    ) -> None:
        self._protocol = protocol
        self._pixels = pixels
        self._backbone = backbone
        self._task = task
        self._device = device
        self._journal = journal
        pin = device.type == "cuda"
        self._scenes = KeptScenes(task.store, task.train, task.classes, task.train_proposals, pin)
        columns = 1 if protocol.detector == "faster_rcnn" else 2
        self._each = protocol.iterations + columns * len(task.test)
        self._pulse = Pulse(context, len(protocol.seeds) * self._each)

    def of_seed(self, seed: int) -> Trial:
        """Raises `Stopped`, after saving, and `StageError(diverged)`."""
        return _unpacked(self._journal.result(str(seed), lambda: _packed(self._trial(seed)), self._pulse, self._each))

    def _trial(self, seed: int) -> Trial:
        detector = self._detector(seed)
        before = detector.trunk.frozen_digest()
        tuning = Tuning(detector, len(self._scenes), self._protocol, seed)
        self._journal.begin(str(seed), tuning, self._protocol.iterations, self._pulse)
        tuning.fit(self._pulse, self._journal)
        unchanged = detector.trunk.frozen_digest() == before if self._protocol.frozen else None
        return self._tried(detector, tuning, unchanged)

    def _detector(self, seed: int) -> Detector:
        torch.manual_seed(derived_seed(seed, "new layers"))
        protocol, classes = self._protocol, len(self._task.classes)
        precision = _settled(protocol)
        trunk = DetectionTrunk(self._backbone, protocol.frozen, precision)
        if protocol.detector == "faster_rcnn":
            modern = faster_rcnn_network(trunk, classes, protocol).to(self._device)
            return FasterRcnn(modern, self._scenes, protocol, self._pixels, self._device)
        network = FastRcnnNetwork(trunk, classes, protocol.width, protocol.pooling, precision).to(self._device)
        return FastRcnn(network, self._scenes, protocol, self._pixels, self._device)

    def _tried(self, detector: Detector, tuning: Tuning, unchanged: bool | None) -> Trial:
        found, speeds = {}, {}
        for column in detector.columns:
            started = time.monotonic()
            found[column] = self._detections(detector, column)
            speeds[column] = len(self._task.test) / (time.monotonic() - started)
        facts = {
            "loss": tuning.loss,
            "training_seconds": tuning.seconds,
            "training_images_per_second": tuning.images_per_second,
            "test_images_per_second": speeds,
        }
        return Trial(found, facts, unchanged)

    def _detections(self, detector: Detector, column: str) -> Boxes:
        task = self._task
        detector.network.eval()
        found = []
        pin = self._device.type == "cuda"
        for scene in read_scenes(task.store, task.test, task.classes, task.test_proposals, pin):
            found.append(_on_cpu(detector.detect(scene, column)))
            self._pulse.beat()
        return _boxes(found)


def _settled(protocol: VocDetectionProtocol) -> Precision:
    assert protocol.precision != "auto"  # resolved before anything is built
    return protocol.precision


def _on_cpu(found: Found) -> Found:
    return Found(*(part.cpu() for part in found))


def _boxes(found: Sequence[Found]) -> Boxes:
    scores = torch.cat([one.scores for one in found]).double().numpy()
    return Boxes(
        image=np.repeat(np.arange(len(found)), [len(one.scores) for one in found]),
        label=torch.cat([one.labels for one in found]).numpy(),
        box=torch.cat([one.boxes for one in found]).double().numpy(),
        score=scores,
        difficult=np.zeros(len(scores), np.bool_),
    )


def _packed(trial: Trial) -> dict[str, Any]:
    """For the state: tensors and plain values."""
    found = {
        column: {name: torch.from_numpy(value) for name, value in vars(boxes).items()}
        for column, boxes in trial.detections.items()
    }
    return {"detections": found, "facts": trial.facts, "unchanged": trial.unchanged}


def _unpacked(kept: Mapping[str, Any]) -> Trial:
    found = {
        column: Boxes(**{name: value.numpy() for name, value in boxes.items()})
        for column, boxes in kept["detections"].items()
    }
    return Trial(found, kept["facts"], kept["unchanged"])
