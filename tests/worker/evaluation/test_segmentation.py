from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from models.config import Arch, BackboneConfig
from tests.worker.evaluation.attempts import interrupted, metrics
from tests.worker.evaluation.coloured import coloured_store, untrained_checkpoint
from worker.config.reasons import Reason
from worker.config.transfer import VocSegmentationProtocol
from worker.data.annotated import VOID, AnnotatedStore
from worker.evaluation.segmentation import PixelCrossEntropy, Steps, run_voc_segmentation
from worker.evaluation.transfer_result import TransferResult
from worker.stages.contract import StageError, Stopped
from worker.stages.standalone import LocalContext

CPU = torch.device("cpu")
TRAINED = VocSegmentationProtocol(iterations=200, batch=8, lr=0.1, lr_drops=1, width=256, batch_norm="train")
SHORT = VocSegmentationProtocol(iterations=2, batch=4, lr=0.01, width=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("coloured")
    coloured_store(path / "store", train=24, test=12, side=64)
    untrained_checkpoint(path / "checkpoint")
    return path


@pytest.fixture(scope="module")
def store(folder: Path) -> AnnotatedStore:
    return AnnotatedStore.open(folder / "store")


@pytest.fixture(scope="module")
def trained(folder: Path, store: AnnotatedStore) -> TransferResult:
    return segmented(folder, store, TRAINED)


def segmented(
    folder: Path, store: AnnotatedStore, protocol: VocSegmentationProtocol, context: LocalContext | None = None
) -> TransferResult:
    context = context or LocalContext(folder / "work")
    return run_voc_segmentation(protocol, folder / "checkpoint", store, CPU, context)


def short(folder: Path, store: AnnotatedStore, **settings: object) -> TransferResult:
    return segmented(folder, store, VocSegmentationProtocol.model_validate(SHORT.model_dump() | settings))


def test_discs_are_told_by_their_colour(trained: TransferResult) -> None:
    cell = trained.cells["segm"]
    assert cell.value > 0.5
    assert cell.low < cell.value < cell.high <= 1
    assert (trained.metric, cell.n, cell.interval) == ("mIoU", 12, "bootstrap over images")
    each = [trained.further[f"IoU {name}"]["segm"].value for name in ("background", "blue", "green", "red")]
    assert np.mean(each) == pytest.approx(cell.value)
    assert trained.further["pixel accuracy"]["segm"].value > 0.85


def test_facts_and_deviations_tell_what_was_measured(trained: TransferResult, store: AnnotatedStore) -> None:
    facts = trained.facts
    assert (facts["train_images"], facts["test_images"], facts["images_without_mask"]) == (24, 12, 0)
    assert facts["classes"] == ["background", "blue", "green", "red"]
    judged = [store.mask(image) for image in store.images("val", "Segmentation")]
    pixels = [sum(int((mask == index).sum()) for mask in judged if mask is not None) for index in range(4)]
    assert list(facts["test_pixels_of_class"].values()) == pixels
    assert facts["images_per_second_training"] > 0
    assert trained.image_ids == [store.id(image) for image in store.images("val", "Segmentation")]
    assert trained.right is not None
    assert trained.right["segm"].shape == (12,)
    said = " ".join(trained.deviations)
    for words in ("24 images of 'train'", "4 classes", "Iterations: 200 instead of 150000", "80 pixels long"):
        assert words in said
    assert "Weight decay" not in said


def test_the_same_seed_gives_the_same_numbers(folder: Path, store: AnnotatedStore) -> None:
    first, again, other = (short(folder, store, seeds=[seed], mirror=True, crop=64) for seed in (0, 0, 1))
    assert first.cells == again.cells
    assert first.facts["training_loss"] == again.facts["training_loss"]
    assert list(first.facts["training_loss"].values()) != list(other.facts["training_loss"].values())


def test_seeds_are_averaged(folder: Path, store: AnnotatedStore) -> None:
    cell = short(folder, store, seeds=[0, 1]).cells["segm"]
    assert list(cell.per_seed) == ["0", "1"]
    assert cell.value == pytest.approx(np.mean(list(cell.per_seed.values())))


def test_torchs_generators_stay_as_they_were(folder: Path, store: AnnotatedStore) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    short(folder, store)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    "config",
    [
        BackboneConfig(arch=Arch.alexnet, width=0.125, norm="lrn"),
        BackboneConfig(arch=Arch.alexnet_torchvision, width=0.125, norm="none"),
        BackboneConfig(arch=Arch.vgg16, width=0.125, norm="batch"),
    ],
    ids=lambda config: str(config.arch),
)
def test_every_backbone_can_be_judged(
    folder: Path, store: AnnotatedStore, tmp_path: Path, config: BackboneConfig
) -> None:
    checkpoint = untrained_checkpoint(tmp_path, config)
    result = run_voc_segmentation(SHORT, checkpoint, store, CPU, LocalContext(folder / "work"))
    assert 0 <= result.cells["segm"].value <= 1


def test_pixels_of_other_classes_are_void(folder: Path, store: AnnotatedStore) -> None:
    part = short(folder, store, classes=["red", "background"])
    assert part.facts["classes"] == ["background", "red"]
    whole = short(folder, store).facts["test_pixels_of_class"]
    assert part.facts["test_pixels_of_class"] == {name: whole[name] for name in ("background", "red")}


def test_a_class_that_nobody_teaches_is_left_out_and_named(folder: Path, store: AnnotatedStore) -> None:
    few = replace(store, sets=store.sets | {"blue": [0, 3, 6]})
    result = short(folder, few, train_set="blue")
    assert result.facts["classes"] == ["background", "blue"]
    assert result.facts["classes_without_training_pixels"] == ["green", "red"]


def test_images_without_a_mask_are_left_out_and_counted(folder: Path, store: AnnotatedStore) -> None:
    lines = [replace(line, mask_bytes=0) if index < 4 else line for index, line in enumerate(store.lines)]
    result = short(folder, replace(store, lines=lines))
    assert (result.facts["train_images"], result.facts["images_without_mask"]) == (20, 4)


@pytest.mark.parametrize(
    ("settings", "reason", "words"),
    [
        ({"train_set": "nothing"}, Reason.bad_config, "nothing"),
        ({"classes": ["red", "unicorn"]}, Reason.bad_config, "unicorn"),
        ({"classes": ["background"]}, Reason.bad_labels, "asked classes"),
        ({"train_set": "one"}, Reason.too_few_images, "'one' has 1"),
        ({"lr": 1e9, "iterations": 20}, Reason.diverged, "diverged"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    folder: Path, store: AnnotatedStore, settings: dict[str, object], reason: Reason, words: str
) -> None:
    with pytest.raises(StageError, match=words) as error:
        short(folder, replace(store, sets=store.sets | {"one": [0]}), **settings)
    assert error.value.reason is reason


def test_it_stops_when_asked(folder: Path, store: AnnotatedStore) -> None:
    with pytest.raises(Stopped):
        segmented(folder, store, SHORT, LocalContext(folder / "work", stop_after=1))


@pytest.mark.parametrize(("looks", "killed"), [([0], False), ([9], False), ([15, 2], False), ([16], True)])
def test_goes_on_where_it_was_interrupted(
    folder: Path,
    store: AnnotatedStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    looks: list[int],
    killed: bool,
) -> None:
    """Each of two seeds is two steps and twelve looks, one at each test image."""
    if killed:
        monkeypatch.setattr("worker.evaluation.journal.SAVE_SECONDS", 0.0)
    asked = SHORT.model_copy(update={"seeds": (0, 1), "mirror": True, "crop": 64, "batch_norm": "train"})

    def work(context: LocalContext) -> TransferResult:
        return segmented(folder, store, asked, context)

    straight = LocalContext(tmp_path / "straight")
    whole, (found, contexts) = work(straight), interrupted(work, tmp_path, looks, killed)
    assert (found.cells, found.further) == (whole.cells, whole.further)
    assert found.facts["training_loss"] == whole.facts["training_loss"]
    assert found.right is not None
    assert whole.right is not None
    assert np.array_equal(found.right["segm"], whole.right["segm"])
    assert list(dict.fromkeys(metrics(contexts))) == straight.metrics
    assert contexts[-1].done == straight.done


def test_the_loss_is_the_mean_of_each_image_s_mean_over_judged_pixels() -> None:
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.randint(3, (2, 4, 5), generator=torch.Generator().manual_seed(1))
    targets[0, :2] = VOID
    alone = [functional.cross_entropy(logits[n : n + 1], targets[n : n + 1], ignore_index=VOID) for n in (0, 1)]
    torch.testing.assert_close(PixelCrossEntropy(targets)(logits), (alone[0] + alone[1]) / 2)
    assert float(PixelCrossEntropy(torch.full_like(targets, VOID))(logits)) == 0


def test_the_rate_drops_in_equal_steps() -> None:
    assert [Steps(2)(share) for share in (0, 0.3, 0.34, 0.6, 0.67, 0.99)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert Steps(0)(0.99) == 1
