"""Images per second of detection: proposals, training, and test at one scale and at several; prints JSON.

`python -m benchmarks.detection --device cuda`. Photographs and objects are drawn, as large as VOC's; proposals for the
detector are the grid's. The quickest of several rounds counts, so that a busy machine says little less.
"""

import argparse
import json
import os
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from models.backbone import build_backbone
from models.config import Arch, BackboneConfig
from models.pixels import ImagenetPixels
from worker.config.transfer import VocDetectionProtocol
from worker.evaluation.detectors.detector import Detector
from worker.evaluation.detectors.fast_rcnn import FastRcnn, FastRcnnNetwork
from worker.evaluation.detectors.faster_rcnn import FasterRcnn, faster_rcnn_network
from worker.evaluation.detectors.grid import grid_boxes
from worker.evaluation.detectors.opencv import edge_boxes, selective_search
from worker.evaluation.detectors.scenes import Scene
from worker.evaluation.detectors.trunk import DetectionTrunk
from worker.evaluation.detectors.tuning import Tuning
from worker.stages.precision import Precision, fast_arithmetic, resolved_precision, usable_device

SIZE = (500, 375)
SCENES = 16
CLASSES = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--arch", type=Arch, choices=list(Arch), default=Arch.alexnet)
    parser.add_argument("--width", type=float, default=1.0, help="of the backbone")
    parser.add_argument("--units", type=int, default=4096, help="of fc6 and fc7")
    parser.add_argument("--scales", type=int, nargs="+", default=list(VocDetectionProtocol().scales))
    parser.add_argument("--test-scale", type=int, default=VocDetectionProtocol().test_scale)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="of 20 steps, and of 16 test images")
    parser.add_argument("--steps", type=int, default=20, help="a round")
    arguments = parser.parse_args()
    device = usable_device(arguments.device)
    scenes = [_scene(number, device.type == "cuda") for number in range(SCENES)]
    with fast_arithmetic(device):
        torch.backends.cudnn.benchmark = False  # as in an evaluation: sizes change from step to step
        measured = {name: _speeds(name, scenes, arguments, device) for name in ("fast_rcnn", "faster_rcnn")}
    report = {
        "device": arguments.device,
        "threads": torch.get_num_threads(),
        "cores": len(os.sched_getaffinity(0)),
        "precision": resolved_precision("auto", device),
        "image": SIZE,
        "scales": arguments.scales,
        "proposals_per_second_and_core": _proposals(scenes),
        "images_per_second": measured,
    }
    print(json.dumps(report, indent=2))


def _scene(number: int, pin: bool) -> Scene:
    rng = np.random.default_rng(number)
    small = rng.integers(0, 256, (12, 16, 3), np.uint8).repeat(32, axis=0).repeat(32, axis=1)
    noise = rng.normal(0, 10, (SIZE[1], SIZE[0], 3))
    image = np.clip(small[: SIZE[1], : SIZE[0]] + noise, 0, 255).astype(np.uint8)
    pixels = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    corners = rng.uniform(0, 200, (3, 2))
    boxes = torch.from_numpy(np.concatenate([corners, corners + rng.uniform(50, 170, (3, 2))], 1)).float()
    proposals = torch.from_numpy(grid_boxes(SIZE, 2000))
    classes = torch.from_numpy(rng.integers(0, CLASSES, 3))
    return Scene(pixels.pin_memory() if pin else pixels, boxes, classes, torch.zeros(3, dtype=torch.bool), proposals)


def _speeds(name: str, scenes: list[Scene], arguments: argparse.Namespace, device: torch.device) -> dict[str, float]:
    protocol = VocDetectionProtocol(
        scales=tuple(arguments.scales),
        test_scale=arguments.test_scale,
        batch=arguments.batch,
        width=arguments.units,
        iterations=(arguments.rounds + 1) * arguments.steps,
    )
    backbone = BackboneConfig(arch=arguments.arch, width=arguments.width)
    detector = _detector(name, scenes, protocol, backbone, device)
    tuning = Tuning(detector, len(scenes), protocol, seed=0)
    detector.network.train()

    def train() -> None:
        tuning.advance(arguments.steps)

    def test(column: str) -> Callable[[], object]:
        return lambda: [detector.detect(scene, column) for scene in scenes]

    speeds = {"train": arguments.steps * protocol.batch / _quickest(train, arguments.rounds, device)}
    detector.network.eval()
    for column in detector.columns:
        speeds[column] = len(scenes) / _quickest(test(column), arguments.rounds, device)
    return speeds


def _detector(
    name: str, scenes: list[Scene], protocol: VocDetectionProtocol, config: BackboneConfig, device: torch.device
) -> Detector:
    torch.manual_seed(0)
    precision: Precision = resolved_precision("auto", device)
    trunk = DetectionTrunk(build_backbone(config), protocol.frozen, precision)
    if name == "faster_rcnn":
        return FasterRcnn(faster_rcnn_network(trunk, CLASSES, protocol).to(device), scenes, protocol, PIXELS, device)
    network = FastRcnnNetwork(trunk, CLASSES, protocol.width, protocol.pooling, precision).to(device)
    return FastRcnn(network, scenes, protocol, PIXELS, device)


PIXELS = ImagenetPixels()


def _proposals(scenes: list[Scene]) -> dict[str, float]:
    finders: dict[str, Callable[[NDArray[np.uint8]], object]] = {
        "selective_search": lambda image: selective_search(image, 500),
        "edge": lambda image: edge_boxes(image, 500),
        "grid": lambda image: grid_boxes(SIZE, 2000),
    }
    images = [scene.pixels.permute(1, 2, 0).contiguous().numpy() for scene in scenes[:3]]
    speeds = {}
    for name, find in finders.items():
        started = time.perf_counter()
        for image in images:
            find(image)
        speeds[name] = len(images) / (time.perf_counter() - started)
    return speeds


def _quickest(work: Callable[[], object], rounds: int, device: torch.device) -> float:
    """Seconds of the quickest of `rounds`, after one that warms up."""
    seconds = []
    for _ in range(rounds + 1):
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
