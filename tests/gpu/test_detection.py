"""What a CUDA device must show of detection: the CPU's losses, a training that learns and resumes."""

from pathlib import Path

import pytest
import torch

from models.backbone import build_backbone
from models.pixels import ImagePixels
from tests.worker.evaluation.detectors.drawn import COLOURS, NARROW, drawn_store, narrow_checkpoint
from worker.config.transfer import VocDetectionProtocol
from worker.evaluation.detection import run_voc_detection
from worker.evaluation.detectors.fast_rcnn import FastRcnn, FastRcnnNetwork
from worker.evaluation.detectors.scenes import read_scenes
from worker.evaluation.detectors.trunk import DetectionTrunk
from worker.stages.contract import Stopped
from worker.stages.standalone import LocalContext

pytestmark = pytest.mark.gpu

QUICK = VocDetectionProtocol(
    train_set="train",
    scales=(96, 120),
    test_scale=96,
    max_side=300,
    proposals_source="given",
    rois=32,
    iterations=250,
    lr=0.03,
    width=128,
    pooling="align",
)


def test_the_losses_of_a_batch_are_those_of_the_cpu(tmp_path: Path) -> None:
    store = drawn_store(tmp_path / "store")
    losses = []
    for name in ("cpu", "cuda"):
        device = torch.device(name)
        proposals = [torch.rand(80, 4, generator=torch.Generator().manual_seed(0)) * 30 + 10 for _ in range(4)]
        for boxes in proposals:
            boxes[:, 2:] += 35
        scenes = list(read_scenes(store, range(4), sorted(COLOURS), proposals, pin=name == "cuda"))
        torch.manual_seed(0)
        network = FastRcnnNetwork(DetectionTrunk(build_backbone(NARROW), 1, "fp32"), 2, 32, "pool", "fp32").eval()
        detector = FastRcnn(network.to(device), scenes, QUICK, ImagePixels(), device)
        found = detector.losses([0, 3], torch.Generator().manual_seed(1))
        losses.append({key: float(value) for key, value in found.items()})
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)


@pytest.mark.parametrize("detector", ["fast_rcnn", "faster_rcnn"])
def test_a_detector_learns_and_goes_on_after_a_stop(tmp_path: Path, detector: str) -> None:
    store, checkpoint = drawn_store(tmp_path / "store"), narrow_checkpoint(tmp_path / "checkpoint")
    protocol = VocDetectionProtocol.model_validate(QUICK.model_dump() | {"detector": detector})
    first = LocalContext(tmp_path / "first", "cuda", stop_after=100)
    with pytest.raises(Stopped):
        run_voc_detection(protocol, checkpoint, store, torch.device("cuda"), first)
    second = LocalContext(tmp_path / "second", "cuda", resume_from=tmp_path / "first")
    result = run_voc_detection(protocol, checkpoint, store, torch.device("cuda"), second)
    assert any("Resumed after step" in message for message in second.messages)
    assert result.trunk_unchanged is True
    assert all(cell.value > 0.7 for cell in result.cells.values())
