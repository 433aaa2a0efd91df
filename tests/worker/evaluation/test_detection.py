import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import load_checkpoint
from models.config import Arch, BackboneConfig
from tests.worker.evaluation.detectors.drawn import drawn_store, narrow_checkpoint
from worker.config.reasons import Reason
from worker.config.transfer import TransferConfig, VocDetectionProtocol
from worker.data.annotated import AnnotatedStore, Annotation, write_annotated_store
from worker.evaluation.detection import run_voc_detection
from worker.evaluation.transfer_result import TransferResult
from worker.stages.contract import StageError, Stopped
from worker.stages.frozen import weights_digest
from worker.stages.standalone import LocalContext

CPU = torch.device("cpu")
QUICK = VocDetectionProtocol(
    train_set="train",
    scales=(96, 120),
    test_scale=96,
    max_side=300,
    proposals_source="given",
    rois=32,
    iterations=6,
    lr=0.02,
    width=32,
    precision="fp32",
)


def measured(
    folder: Path, protocol: VocDetectionProtocol = QUICK, context: LocalContext | None = None
) -> TransferResult:
    store = AnnotatedStore.open(folder / "store") if (folder / "store").exists() else drawn_store(folder / "store")
    checkpoint = folder / "checkpoint"
    if not checkpoint.exists():
        narrow_checkpoint(checkpoint)
    return run_voc_detection(protocol, checkpoint, store, CPU, context or LocalContext(folder / "work"))


def changed(**values: object) -> VocDetectionProtocol:
    return VocDetectionProtocol.model_validate(QUICK.model_dump() | values)


def test_fast_rcnn_learns_four_images_by_heart(tmp_path: Path) -> None:
    result = measured(tmp_path, changed(iterations=120, lr=0.03, width=128, pooling="align"))
    assert result.metric == "mAP"
    assert result.cells["det_ss"].value > 0.9
    assert result.cells["det_ms"].value > 0.8
    assert result.right is not None
    assert result.right["det_ss"].mean() > 0.9


def test_faster_rcnn_learns_two_images_by_heart(tmp_path: Path) -> None:
    drawn_store(tmp_path / "store", 2)
    result = measured(tmp_path, changed(detector="faster_rcnn", iterations=60, lr=0.03, width=64, scales=(96,)))
    assert list(result.cells) == ["faster_rcnn"]
    assert result.cells["faster_rcnn"].value > 0.6


def test_a_network_that_did_not_learn_is_no_good(tmp_path: Path) -> None:
    result = measured(tmp_path, changed(iterations=1, lr=1e-9))
    assert result.cells["det_ss"].value < 0.5


def test_says_what_was_measured_and_how_it_differs_from_the_paper(tmp_path: Path) -> None:
    context = LocalContext(tmp_path / "work")
    result = measured(tmp_path, context=context)
    assert list(result.image_ids) == [f"VOC2007/{number:06}" for number in range(4)]
    assert set(result.further) == {"mAP all-point", "AP ball", "AP cube"}
    assert result.facts["test_objects"] == {"ball": 4, "cube": 4}
    assert result.facts["proposal_recall"] == 1
    assert result.right is not None
    assert {column: right.shape for column, right in result.right.items()} == {"det_ss": (4,), "det_ms": (4,)}
    assert result.facts["seeds"]["0"]["training_images_per_second"] > 0
    assert json.loads(json.dumps(dict(result.facts)))
    told = " ".join(result.deviations)
    for words in ("2 classes, not 20", "4 of the judged images were learnt from", "6 steps of 2", "were given"):
        assert words in told
    assert isinstance(context.config, TransferConfig)
    assert context.done == (6 + 2 * 4, 6 + 2 * 4, "steps")


def test_the_protocol_comes_back_with_no_auto_left(tmp_path: Path) -> None:
    context = LocalContext(tmp_path / "work")
    result = measured(tmp_path, changed(precision="auto", proposals_source="auto", iterations=1), context)
    assert isinstance(result.protocol, VocDetectionProtocol)
    assert result.protocol.proposals_source == "selective_search"
    assert result.protocol.precision in ("fp32", "bf16")
    assert context.config == TransferConfig(protocol=result.protocol)


def test_cells_hold_the_interval_and_every_seed(tmp_path: Path) -> None:
    result = measured(tmp_path, changed(seeds=(3, 8), iterations=40))
    for cell in result.cells.values():
        assert set(cell.per_seed) == {"3", "8"}
        assert cell.value == pytest.approx(np.mean(list(cell.per_seed.values())))
        assert 0 <= cell.low <= cell.high <= 1
        assert cell.n == 4
    assert result.cells["det_ss"].per_seed["3"] != result.cells["det_ss"].per_seed["8"]


def test_the_same_seed_measures_the_same(tmp_path: Path) -> None:
    first = measured(tmp_path, context=LocalContext(tmp_path / "one"))
    again = measured(tmp_path, context=LocalContext(tmp_path / "two"))
    assert first.cells == again.cells


@pytest.mark.parametrize("frozen", [1, 4])
def test_frozen_layers_are_bit_equal_after_the_training(tmp_path: Path, frozen: int) -> None:
    assert measured(tmp_path, changed(frozen=frozen)).trunk_unchanged is True
    state = torch.load(tmp_path / "work" / "training_state.pt", weights_only=True)
    assert state["done"]["0"]["unchanged"] is True


def test_with_nothing_frozen_there_is_nothing_to_be_unchanged(tmp_path: Path) -> None:
    assert measured(tmp_path, changed(frozen=0)).trunk_unchanged is None


def test_the_checkpoint_stays_as_it_was(tmp_path: Path) -> None:
    checkpoint = narrow_checkpoint(tmp_path / "checkpoint")
    before = weights_digest(load_checkpoint(checkpoint)[1])
    measured(tmp_path, changed(frozen=0, seeds=(0, 1)))
    assert weights_digest(load_checkpoint(checkpoint)[1]) == before


@pytest.mark.parametrize(
    ("detector", "stop_after"), [("fast_rcnn", 2), ("fast_rcnn", 8), ("fast_rcnn", 15), ("faster_rcnn", 2)]
)
def test_a_stopped_evaluation_goes_on_to_the_same_numbers(tmp_path: Path, detector: str, stop_after: int) -> None:
    protocol = changed(detector=detector, seeds=(0, 1), iterations=4, scales=(96,))
    whole = measured(tmp_path, protocol, LocalContext(tmp_path / "whole"))
    with pytest.raises(Stopped):
        measured(tmp_path, protocol, LocalContext(tmp_path / "first", stop_after=stop_after))
    second = LocalContext(tmp_path / "second", resume_from=tmp_path / "first")
    resumed = measured(tmp_path, protocol, second)
    assert resumed.cells == whole.cells
    losses = [[seed["loss"] for seed in result.facts["seeds"].values()] for result in (resumed, whole)]
    assert losses[0] == losses[1]
    assert any("Resumed after step" in message for message in second.messages) or stop_after == 15


def test_a_state_of_another_protocol_is_not_taken_over(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        measured(tmp_path, context=LocalContext(tmp_path / "first", stop_after=3))
    second = LocalContext(tmp_path / "second", resume_from=tmp_path / "first")
    measured(tmp_path, changed(lr=0.01), second)
    assert not any("Resumed" in message for message in second.messages)


@pytest.mark.parametrize(
    "config",
    [
        BackboneConfig(arch=Arch.vgg16, width=0.125),
        BackboneConfig(arch=Arch.alexnet, width=0.125, norm="lrn"),
        BackboneConfig(arch=Arch.alexnet_torchvision, width=0.125, norm="none"),
    ],
)
@pytest.mark.parametrize("detector", ["fast_rcnn", "faster_rcnn"])
def test_any_backbone_can_be_judged(tmp_path: Path, config: BackboneConfig, detector: str) -> None:
    narrow_checkpoint(tmp_path / "checkpoint", config)
    result = measured(tmp_path, changed(detector=detector, iterations=1))
    assert result.facts["stride"] == 16


def test_a_library_s_network_is_refused_before_anything_is_searched(tmp_path: Path) -> None:
    narrow_checkpoint(tmp_path / "checkpoint", BackboneConfig(arch="torchvision:resnet18"))
    with pytest.raises(StageError, match="resnet18") as error:
        measured(tmp_path, changed(proposals_source="edge"))
    assert error.value.reason is Reason.bad_config
    assert not (tmp_path / "work" / "proposals.npz").exists()


def test_a_diverging_training_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="learning rate") as error:
        measured(tmp_path, changed(lr=1e30, iterations=10))
    assert error.value.reason is Reason.diverged


@pytest.mark.parametrize(
    ("values", "reason", "said"),
    [
        ({"train_set": "nowhere"}, Reason.bad_config, "nowhere"),
        ({"test_set": "nowhere"}, Reason.bad_config, "nowhere"),
        ({"classes": ("ball", "unicorn")}, Reason.bad_config, "unicorn"),
        ({"train_set": "empty"}, Reason.bad_labels, "empty"),
        ({"test_set": "hard"}, Reason.bad_labels, "hard"),
        ({"test_set": "unlisted"}, Reason.bad_labels, "unlisted"),
    ],
)
def test_what_cannot_be_learnt_or_judged_is_refused(
    tmp_path: Path, values: dict[str, object], reason: Reason, said: str
) -> None:
    pixels = np.full((64, 64, 3), 90, np.uint8)
    ball = Annotation("ball", (4, 4, 40, 40))
    sets = {name: [name] for name in ("train", "test", "empty", "hard", "unlisted")}
    objects = {"train": [ball], "test": [ball], "empty": [], "hard": [ball._replace(difficult=True)]}
    write_annotated_store(tmp_path / "store", dict.fromkeys(sets, pixels), sets, objects)
    with pytest.raises(StageError, match=said) as error:
        measured(tmp_path, changed(**{"proposals_source": "grid"} | values))
    assert error.value.reason is reason


def test_objects_of_other_classes_and_images_nobody_looked_at_are_left_out(tmp_path: Path) -> None:
    pixels = np.full((64, 64, 3), 90, np.uint8)
    ball, cube = Annotation("ball", (4, 4, 40, 40)), Annotation("cube", (20, 20, 60, 60))
    sets = {"train": ["a", "b"], "test": ["c", "d", "e"]}
    objects = {"a": [ball, cube], "b": [cube], "c": [ball, ball._replace(difficult=True)], "d": []}
    write_annotated_store(tmp_path / "store", dict.fromkeys("abcde", pixels), sets, objects)
    result = measured(tmp_path, changed(classes=("ball",), proposals_source="grid", proposals=50))
    assert list(result.image_ids) == ["c", "d"]
    assert result.facts["training_images"] == 1
    assert result.facts["training_images_without_objects"] == 1
    assert result.facts["test_images_without_annotation"] == 1
    assert result.facts["test_objects"] == {"ball": 1}
    assert result.facts["difficult_objects"] == 1
