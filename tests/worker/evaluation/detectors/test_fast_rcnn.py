from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchvision.ops import box_iou

from models.backbone import build_backbone
from models.config import Arch, BackboneConfig
from models.pixels import ImagePixels
from tests.worker.evaluation.detectors.drawn import COLOURS, HEIGHT, NARROW, WIDTH, drawn_store
from worker.config.transfer import VocDetectionProtocol
from worker.evaluation.detectors.boxes import decode
from worker.evaluation.detectors.fast_rcnn import MULTIPLE, SINGLE, FastRcnn, FastRcnnNetwork, roi_losses, surest
from worker.evaluation.detectors.scenes import Scene, read_scenes
from worker.evaluation.detectors.trunk import DetectionTrunk

CPU = torch.device("cpu")
PROTOCOL = VocDetectionProtocol(scales=(96, 120), test_scale=96, max_side=300, rois=16, width=32)


def drawn_scenes(folder: Path) -> list[Scene]:
    store = drawn_store(folder / "store")
    proposals = [torch.rand(50, 4) * 30 + torch.tensor([0.0, 0, 40, 40]) for _ in range(4)]
    return list(read_scenes(store, range(4), sorted(COLOURS), proposals, pin=False))


def network(backbone: BackboneConfig = NARROW, pooling: str = "pool") -> FastRcnnNetwork:
    torch.manual_seed(0)
    trunk = DetectionTrunk(build_backbone(backbone), 1, "fp32")
    return FastRcnnNetwork(trunk, 2, 32, "align" if pooling == "align" else "pool", "fp32").eval()


def detector(folder: Path, protocol: VocDetectionProtocol = PROTOCOL) -> FastRcnn:
    return FastRcnn(network(), drawn_scenes(folder), protocol, ImagePixels(), CPU)


@pytest.mark.parametrize("pooling", ["pool", "align"])
@pytest.mark.parametrize("backbone", [NARROW, BackboneConfig(arch=Arch.vgg16, width=0.125)])
def test_every_box_gets_a_score_a_class_and_a_shift_a_class(backbone: BackboneConfig, pooling: str) -> None:
    boxes = torch.tensor([[0.0, 0, 0, 40, 40], [1, 8, 8, 96, 64], [1, 0, 0, 8, 8]])
    scores, shifts = network(backbone, pooling)(torch.randn(2, 3, 64, 96), boxes)
    assert scores.shape == (3, 3)
    assert shifts.shape == (3, 2, 4)


def test_a_box_is_judged_by_its_own_image_alone() -> None:
    images = torch.randn(2, 3, 64, 96)
    boxes = torch.tensor([[0.0, 8, 8, 60, 60], [1, 8, 8, 60, 60]])
    whole, _ = network()(images, boxes)
    alone, _ = network()(images[1:], torch.tensor([[0.0, 8, 8, 60, 60]]))
    torch.testing.assert_close(whole[1:], alone, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(whole[0], whole[1])


def test_a_batch_shows_each_image_at_one_of_the_scales_with_its_boxes_on_the_same_places(tmp_path: Path) -> None:
    found = detector(tmp_path)
    sizes = set()
    for seed in range(8):
        batch = found.batch([2, 1], torch.Generator().manual_seed(seed))
        assert batch.boxes[:, 0].tolist() == [0] * 16 + [1] * 16
        assert ((batch.labels.view(2, 16) > 0).sum(1) >= 2).all()
        for row, box, target in zip(batch.labels, batch.boxes, batch.targets, strict=True):
            if row == 0:
                assert not target.any()
                continue
            image = batch.images[int(box[0])]
            x1, y1, x2, y2 = decode(box[None, 1:], target[None])[0].round().int().tolist()
            inside = image[:, y1 + 3 : y2 - 3, x1 + 3 : x2 - 3].mean(dim=(1, 2))
            red, blue = inside[0] > inside[2], inside[2] > inside[0]
            assert bool(red if sorted(COLOURS)[int(row) - 1] == "ball" else blue)
        sizes.add(tuple(batch.images.shape[2:]))
    assert len(sizes) > 1


def test_the_same_generator_makes_the_same_batch(tmp_path: Path) -> None:
    found = detector(tmp_path)
    first, again = (found.batch([0, 3], torch.Generator().manual_seed(5)) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_losses_are_those_of_a_loop_over_the_boxes() -> None:
    torch.manual_seed(0)
    logits, shifts, targets = torch.randn(6, 4), torch.randn(6, 3, 4), torch.randn(6, 4)
    labels = torch.tensor([0, 3, 1, 0, 0, 2])
    losses = roi_losses(logits, shifts, labels, targets)
    classes = boxes = 0.0
    for row, label in enumerate(labels.tolist()):
        classes -= float(logits[row].log_softmax(0)[label])
        for value in (shifts[row, label - 1] - targets[row]).tolist() if label else []:
            boxes += 0.5 * value**2 if abs(value) < 1 else abs(value) - 0.5
    assert float(losses["classes"]) == pytest.approx(classes / 6, rel=1e-5)
    assert float(losses["boxes"]) == pytest.approx(boxes / 6, rel=1e-5)


def test_background_alone_teaches_no_boxes() -> None:
    shifts = torch.randn(3, 2, 4, requires_grad=True)
    roi_losses(torch.randn(3, 3), shifts, torch.zeros(3, dtype=torch.int64), torch.zeros(3, 4))["boxes"].backward()
    assert shifts.grad is not None
    assert not shifts.grad.any()


def test_the_surest_boxes_overlap_no_surer_one_of_their_class() -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(80, 3, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + 30 + torch.rand(80, 3, 2, generator=generator) * 40], dim=2)
    probabilities = torch.rand(80, 3, generator=generator)
    found = surest(boxes, probabilities, (100, 90), 0.3, 15)
    assert len(found.scores) == 15
    assert (found.scores.diff() <= 0).all()
    assert found.boxes.min() >= 0
    assert (found.boxes[:, 2] <= 100).all()
    assert (found.boxes[:, 3] <= 90).all()
    for label in range(3):
        own = found.boxes[found.labels == label]
        assert (box_iou(own, own).fill_diagonal_(0) <= 0.3).all()
    assert found.scores[0] == probabilities.max()


def test_multi_scale_judges_each_box_where_its_area_is_nearest_to_224_squared(tmp_path: Path) -> None:
    protocol = PROTOCOL.model_copy(update={"scales": (96, 300), "max_side": 1000})
    both = detector(tmp_path, protocol)
    scene = both._scenes[0]
    # At 96 pixels a box keeps its size; at 300 its sides are 3.1 times as long.
    large, small = torch.tensor([[0.0, 0, WIDTH, HEIGHT]]), torch.tensor([[20.0, 20, 60, 60]])
    area = WIDTH * HEIGHT
    assert abs(area - 224**2) < abs(area * 3.125**2 - 224**2)
    for box, scale in ((large, 96), (small, 300)):
        one = Scene(scene.pixels, scene.boxes, scene.classes, scene.difficult, box)
        single = FastRcnn(both.network, [], protocol.model_copy(update={"test_scale": scale}), ImagePixels(), CPU)
        told, expected = both.detect(one, MULTIPLE), single.detect(one, SINGLE)
        torch.testing.assert_close(told.scores, expected.scores)
        torch.testing.assert_close(told.boxes, expected.boxes)


def test_a_panorama_is_judged_no_longer_than_the_published_1000_by_600(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, int]] = []

    def seen(image: torch.Tensor, size: tuple[int, int], pixels: ImagePixels) -> torch.Tensor:
        sizes.append(size)
        return torch.zeros(3, size[1], size[0])

    found = detector(tmp_path, PROTOCOL.model_copy(update={"scales": (60,), "test_scale": 60}))
    monkeypatch.setattr("worker.evaluation.detectors.fast_rcnn.shown", seen)
    none, box = torch.zeros(0), torch.tensor([[0.0, 0, 40, 40]])
    for pixels in (torch.zeros(3, 60, 80), torch.zeros(3, 60, 240)):
        scene = Scene(pixels.byte(), none.view(0, 4), none.long(), none.bool(), box)
        for column in (SINGLE, MULTIPLE):
            found.detect(scene, column)
    assert sizes == [(80, 60), (80, 60), (100, 25), (240, 60)]


def test_merged_by_mean_it_is_the_average_over_the_scales(tmp_path: Path) -> None:
    protocol = PROTOCOL.model_copy(update={"merge": "mean", "scales": (96, 120)})
    found = detector(tmp_path, protocol)
    scene = found._scenes[0]
    one = Scene(scene.pixels, scene.boxes, scene.classes, scene.difficult, scene.proposals[:1])
    scores = []
    for scale in (96, 120):
        single = FastRcnn(found.network, [], protocol.model_copy(update={"test_scale": scale}), ImagePixels(), CPU)
        told = single.detect(one, SINGLE)
        scores.append(told.scores[told.labels.argsort()])
    merged = found.detect(one, MULTIPLE)
    torch.testing.assert_close(merged.scores[merged.labels.argsort()], (scores[0] + scores[1]) / 2)


def test_without_proposals_nothing_is_found(tmp_path: Path) -> None:
    found = detector(tmp_path)
    scene = found._scenes[0]
    empty = Scene(scene.pixels, scene.boxes, scene.classes, scene.difficult, torch.zeros(0, 4))
    assert found.detect(empty, SINGLE).boxes.shape == (0, 4)


def test_pooling_takes_the_largest_value_of_each_part_of_the_box() -> None:
    judge = network()
    maps = torch.rand(1, judge.trunk.out_channels, 12, 12)
    # To the pixel in the middle of the last cell, included.
    end = 11 * judge.trunk.stride + 1
    box = torch.tensor([[0.0, 0, 0, end, end]])
    torch.testing.assert_close(judge._pooled(maps, box), functional.max_pool2d(maps, 2))


def test_boxes_in_pixels_are_the_same_whether_seen_large_or_small(tmp_path: Path) -> None:
    # A network that shifts nothing returns the proposals themselves, whatever the scale.
    found = detector(tmp_path)
    with torch.no_grad():
        found.network.shifts.weight.zero_()
    scene = found._scenes[0]
    one = Scene(scene.pixels, scene.boxes, scene.classes, scene.difficult, scene.boxes[:1])
    for column in (SINGLE, MULTIPLE):
        np.testing.assert_allclose(found.detect(one, column).boxes[:1], scene.boxes[:1], atol=1e-3)
