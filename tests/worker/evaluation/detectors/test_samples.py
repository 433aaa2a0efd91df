import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from worker.evaluation.detectors.boxes import decode
from worker.evaluation.detectors.samples import Candidates, candidates, sample

OBJECTS = torch.tensor([[20.0, 20, 60, 60], [100, 20, 140, 80]])
CLASSES = torch.tensor([2, 0])
NONE = torch.tensor([False, False])


def around(boxes: Tensor, count: int, jitter: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = (torch.rand(count, len(boxes), 4, generator=generator) - 0.5) * jitter
    return (boxes + noise).flatten(0, 1)


def many() -> Candidates:
    proposals = torch.cat([around(OBJECTS, 100, 8), around(OBJECTS, 100, 60), around(OBJECTS + 200, 100, 8)])
    return candidates(proposals, OBJECTS, CLASSES, NONE)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_kinds_are_told_by_the_overlap() -> None:
    found = many()
    overlap = box_iou(found.boxes, OBJECTS).max(1).values
    assert (overlap[found.foreground] >= 0.5).all()
    assert ((overlap[found.background] >= 0.1) & (overlap[found.background] < 0.5)).all()
    assert (overlap[found.far] < 0.1).all()
    assert len(found.foreground) + len(found.background) + len(found.far) == len(found.boxes)


def test_foreground_carries_its_object_s_class_and_the_way_there() -> None:
    found = many()
    best = box_iou(found.boxes, OBJECTS).argmax(1)[found.foreground]
    assert torch.equal(found.labels[found.foreground], CLASSES[best] + 1)
    reached = decode(found.boxes[found.foreground], found.targets[found.foreground])
    torch.testing.assert_close(reached, OBJECTS[best], rtol=1e-4, atol=1e-2)


def test_background_has_label_0_and_no_way_to_go() -> None:
    found = many()
    others = torch.cat([found.background, found.far])
    assert not found.labels[others].any()
    assert not found.targets[others].any()


def test_the_objects_themselves_are_candidates() -> None:
    found = candidates(torch.zeros(0, 4), OBJECTS, CLASSES, NONE)
    assert torch.equal(found.boxes, OBJECTS)
    assert found.foreground.tolist() == [0, 1]


@pytest.mark.parametrize("count", [8, 64, 100])
def test_a_quarter_is_foreground_and_the_rest_background_without_repetition(count: int) -> None:
    found = many()
    chosen = sample(found, count, generator())
    assert len(chosen) == count == len(set(chosen.tolist()))
    assert (found.labels[chosen] > 0).sum() == count // 4
    assert set(chosen[count // 4 :].tolist()) <= set(found.background.tolist())


def test_scarce_foreground_is_filled_with_background() -> None:
    found = candidates(around(OBJECTS, 100, 60)[:40], OBJECTS[:1], CLASSES[:1], NONE[:1])
    scarce = Candidates(found.boxes, found.labels, found.targets, found.foreground[:1], found.background, found.far)
    chosen = sample(scarce, 32, generator())
    assert (found.labels[chosen] > 0).sum() == 1
    assert len(chosen) == 32


def test_far_background_comes_only_where_the_near_runs_out() -> None:
    found = many()
    few = Candidates(found.boxes, found.labels, found.targets, found.foreground, found.background[:5], found.far)
    chosen = set(sample(few, 64, generator()).tolist())
    assert set(found.background[:5].tolist()) <= chosen
    assert len(chosen & set(found.far.tolist())) == 64 - 16 - 5


def test_every_image_brings_as_many_even_with_a_single_box() -> None:
    found = candidates(torch.zeros(0, 4), OBJECTS[:1], CLASSES[:1], NONE[:1])
    assert sample(found, 16, generator()).tolist() == [0] * 16


def test_proposals_over_a_difficult_object_are_never_sampled() -> None:
    difficult = torch.tensor([False, True])
    found = candidates(torch.cat([around(OBJECTS, 50, 8), around(OBJECTS, 50, 60)]), OBJECTS, CLASSES, difficult)
    sampled = torch.cat([found.foreground, found.background, found.far])
    assert (box_iou(found.boxes[sampled], OBJECTS[1:]) < 0.5).all()
    assert set(found.labels.tolist()) == {0, 3}


def test_the_same_generator_draws_the_same() -> None:
    found = many()
    assert torch.equal(sample(found, 64, generator(1)), sample(found, 64, generator(1)))
    assert not torch.equal(sample(found, 64, generator(1)), sample(found, 64, generator(2)))
