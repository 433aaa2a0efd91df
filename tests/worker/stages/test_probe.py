import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.config import Arch, BackboneConfig
from tests.worker.stages.feature_sets import small_store
from tests.worker.stages.networks import SMALL_ALEXNET, SMALL_VGG, write_network
from worker.config.probe import (
    AnyProbe,
    ClusterProtocol,
    LabelSplit,
    LinearProtocol,
    LowShotProtocol,
    NonlinearProtocol,
    ProbeConfig,
    RetrievalProtocol,
)
from worker.config.reasons import Reason
from worker.config.scores import ScoreSheet
from worker.data.store import ImageStore, write_store
from worker.stages.contract import StageError, Stopped
from worker.stages.probe import ProbeInputs, run
from worker.stages.resumable import STATE_FILE
from worker.stages.standalone import LocalContext

SEEDS = (0, 1)
SPLIT = LabelSplit(holdout=0.3)


def linear(**changes: Any) -> LinearProtocol:  # noqa: ANN401
    return LinearProtocol(**{"taps": ("conv1", "conv3"), "max_dims": 64, "epochs": 20, "seeds": SEEDS, **changes})


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    """Bright and dark images, which any network tells apart, one image of a third kind and one without a label."""
    rng = np.random.default_rng(0)
    bright = np.arange(80) % 2 == 0
    images = np.where(bright, 160, 0)[:, None, None, None] + rng.integers(0, 90, (80, 70, 70, 3))
    labels: list[str | None] = ["bright" if is_bright else "dark" for is_bright in bright]
    labels[5], labels[6] = "odd", None
    write_store(tmp_path / "store", images.astype(np.uint8), [f"{index:03}.png" for index in range(80)], labels)
    return ImageStore.open(tmp_path / "store")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_network(tmp_path / "checkpoint", SMALL_ALEXNET, role="student")


def judged(
    path: Path, protocol: AnyProbe, store: ImageStore, checkpoint: Path, *pictures: str
) -> tuple[ScoreSheet, dict[str, np.ndarray[Any, Any]]]:
    """The sheet and the `right_*` files, after a look at what else was left."""
    made = run(ProbeConfig(protocol=protocol), ProbeInputs(store=store.path, checkpoint=checkpoint), LocalContext(path))
    folder = made.evaluation.path
    assert sorted(file.name for file in path.iterdir()) == ["evaluation"]
    sheet = ScoreSheet.model_validate_json((folder / "evaluation.json").read_text())
    assert made.evaluation.summary == sheet.model_dump(mode="json")
    right = {file.stem.removeprefix("right_"): np.load(file) for file in folder.glob("right_*.npy")}
    names = {"evaluation.json", "images.json", *pictures, *(f"right_{column}.npy" for column in right)}
    assert {file.name for file in folder.iterdir()} == names
    return sheet, right


def test_linear_probes_fill_a_score_sheet_and_the_files_beside_it(
    tmp_path: Path, store: ImageStore, checkpoint: Path
) -> None:
    sheet, right = judged(tmp_path / "out", linear(split=SPLIT), store, checkpoint)
    assert (sheet.protocol, sheet.metric, sheet.table, sheet.dataset) == ("linear", "top1", 4, store.digest)
    assert sheet.photographs == store.photographs
    assert list(sheet.cells) == ["conv1", "conv3"] == sorted(right)
    images = json.loads((tmp_path / "out/evaluation/images.json").read_text())
    for column, cell in sheet.cells.items():
        assert cell.n == len(images) == sheet.facts["held_out"] == len(right[column])
        assert cell.value == pytest.approx(right[column].mean()) == pytest.approx(np.mean(list(cell.per_seed.values())))
        assert cell.low <= cell.value <= cell.high
        assert list(cell.per_seed) == ["0", "1"]
        assert right[column].dtype == np.float32
    assert sheet.cells["conv1"].value == 1
    assert sheet.cells["conv1"].interval == "Wilson over images"
    assert sheet.further["top1 over seeds"]["conv1"].interval == "Student over seeds"


def test_the_network_is_provably_unchanged(tmp_path: Path, store: ImageStore, checkpoint: Path) -> None:
    weights = (checkpoint / "model.pt").read_bytes()
    sheet, _ = judged(tmp_path / "out", linear(), store, checkpoint)
    assert sheet.trunk_unchanged
    assert sheet.facts["trunk_digest"]["before"] == sheet.facts["trunk_digest"]["after"]
    assert (checkpoint / "model.pt").read_bytes() == weights


def test_says_what_took_part_and_how_it_differs_from_the_paper(
    tmp_path: Path, store: ImageStore, checkpoint: Path
) -> None:
    sheet, _ = judged(tmp_path / "out", linear(split=SPLIT), store, checkpoint)
    assert sheet.facts["classes"] == ["bright", "dark"]
    assert sheet.facts["dropped_classes"] == {"odd": 1}
    assert sheet.facts["unlabelled"] == 1
    assert sheet.facts["train"] + sheet.facts["held_out"] == 78
    assert sheet.config["side"] == 70
    assert sheet.config["crop"] == 64
    assert "auto" not in json.dumps(sheet.config)
    assert sheet.checkpoint["backbone"]["width"] == 0.125
    told = " ".join(sheet.deviations)
    assert "seen through a crop of 64" in told
    assert "2 classes; the paper's datasets have 1000 and 205" in told
    assert "alexnet at 0.125 of its width with batch norm" in told
    assert "at most 64 values" in told


@pytest.mark.parametrize("protocol", [linear(), RetrievalProtocol(grid=0), ClusterProtocol(k=4, seeds=SEEDS)])
def test_the_same_seeds_give_the_same_numbers(
    tmp_path: Path, store: ImageStore, checkpoint: Path, protocol: AnyProbe
) -> None:
    first, second = (judged(tmp_path / name, protocol, store, checkpoint) for name in ("a", "b"))
    assert (first[0].cells, first[0].further) == (second[0].cells, second[0].further)
    for column in first[1]:
        np.testing.assert_array_equal(first[1][column], second[1][column])


def test_features_in_files_give_the_same_numbers_as_in_memory(
    tmp_path: Path, store: ImageStore, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocols: list[AnyProbe] = [
        linear(),
        RetrievalProtocol(taps=("conv2",), max_dims=64, grid=0),
        LowShotProtocol(taps=("conv3",), shares=(0.1, 0.5), ways=("linear",), max_dims=64, epochs=3),
        ClusterProtocol(tap="conv3", k=4, seeds=SEEDS),
    ]
    for number, protocol in enumerate(protocols):
        monkeypatch.setattr("worker.evaluation.features.HOST_BYTES", 2 << 30)
        memory, _ = judged(tmp_path / f"memory{number}", protocol, store, checkpoint)
        monkeypatch.setattr("worker.evaluation.features.HOST_BYTES", 0)
        files, _ = judged(tmp_path / f"files{number}", protocol, store, checkpoint)
        assert memory.cells == files.cells
        assert memory.further == files.further


def test_the_full_size_taps_are_the_published_ones(tmp_path: Path) -> None:
    store = small_store(tmp_path / "store", 14, 256, [str(index % 2) for index in range(14)])
    checkpoint = write_network(tmp_path / "full", BackboneConfig(arch=Arch.alexnet), role="student")
    protocol = LinearProtocol(epochs=1, seeds=(0,), crop=227, side=256, split=LabelSplit(holdout=0.4))
    sheet, _ = judged(tmp_path / "out", protocol, store, checkpoint)
    columns = sheet.facts["columns"]
    assert [facts["dim"] for facts in columns.values()] == [9600, 9216, 9600, 9600, 9216]
    assert [facts["shape"][1] for facts in columns.values()] == [10, 6, 5, 5, 6]


def test_the_rule_of_ten_chooses_the_judges(tmp_path: Path, store: ImageStore, checkpoint: Path) -> None:
    judged(tmp_path / "out", linear(epochs=1, split=LabelSplit(rule="md5-mod-10")), store, checkpoint)
    images = json.loads((tmp_path / "out/evaluation/images.json").read_text())
    taking_part = [path for path in store.paths if path not in ("005.png", "006.png")]
    expected = [path for path in taking_part if int(hashlib.md5(path.encode()).hexdigest(), 16) % 10 == 0]
    assert images == expected


def test_top_5_comes_with_more_than_five_classes(tmp_path: Path, checkpoint: Path) -> None:
    store = small_store(tmp_path / "seven", 140, 70, [str(index % 7) for index in range(140)])
    sheet, _ = judged(tmp_path / "out", linear(epochs=2), store, checkpoint)
    for tap in ("conv1", "conv3"):
        assert sheet.further["top5"][tap].value >= sheet.cells[tap].value


def test_retrieval_tells_neighbours_precision_and_a_picture(
    tmp_path: Path, store: ImageStore, checkpoint: Path
) -> None:
    protocol = RetrievalProtocol(taps=("conv1", "conv3"), max_dims=64, neighbours=3, grid=2, split=SPLIT)
    sheet, right = judged(tmp_path / "out", protocol, store, checkpoint, "retrieval.png")
    assert sheet.table is None
    assert sheet.cells["conv1"].value == 1 == right["conv1"].mean()
    assert sheet.cells["conv1"].per_seed == {}
    assert sheet.further["mAP"]["conv1"].value > sheet.facts["chance_mAP"] == pytest.approx(0.5, abs=0.05)
    assert sheet.trunk_unchanged
    with Image.open(tmp_path / "out/evaluation/retrieval.png") as picture:
        assert picture.height > 2 * 96


def test_low_shot_learns_from_few_labels_linearly_and_by_fine_tuning(
    tmp_path: Path, store: ImageStore, checkpoint: Path
) -> None:
    protocol = LowShotProtocol(taps=("conv1",), shares=(0.05, 0.5), max_dims=64, seeds=(0,), steps=2, split=SPLIT)
    sheet, right = judged(tmp_path / "out", protocol, store, checkpoint)
    columns = ["linear_conv1_0.05", "linear_conv1_0.5", "finetune_0.05", "finetune_0.5"]
    assert list(sheet.cells) == columns
    assert sorted(right) == sorted(columns)
    assert sheet.cells["linear_conv1_0.5"].value == 1
    taught = [sheet.facts["columns"][column]["taught"] for column in columns[:2]]
    assert 2 <= taught[0] < taught[1] < sheet.facts["train"]


def test_clusters_tell_agreement_with_labels_and_with_themselves(
    tmp_path: Path, store: ImageStore, checkpoint: Path
) -> None:
    sheet, right = judged(tmp_path / "out", ClusterProtocol(tap="conv1", seeds=SEEDS), store, checkpoint)
    assert right == {}
    assert sheet.metric == "NMI"
    assert sheet.config["k"] == sheet.facts["k"] == 2
    assert sheet.cells["conv1"].n == 79
    assert sheet.cells["conv1"].value > 0.8 > sheet.facts["chance"]["NMI"]
    assert set(sheet.further) == {
        *("ARI", "purity", "entropy", "empty share", "tiny share", "giant share", "ARI between seeds")
    }
    assert sheet.further["empty share"]["conv1"].value == 0
    assert set(sheet.facts["empty_reseeded"]) == {str(seed) for seed in SEEDS}


def test_nonlinear_probes_retrain_what_follows(tmp_path: Path, store: ImageStore, checkpoint: Path) -> None:
    protocol = NonlinearProtocol(columns=("conv4", "fc6"), epochs=1, width=16, crops=1, seeds=(0,), split=SPLIT)
    sheet, right = judged(tmp_path / "out", protocol, store, checkpoint)
    assert list(sheet.cells) == ["conv4"] == list(right)
    assert sheet.table == 6
    assert sheet.trunk_unchanged
    assert any("Left out, because the checkpoint has no such layers: fc6" in told for told in sheet.deviations)


def test_a_teacher_of_another_architecture_is_judged_too(tmp_path: Path, store: ImageStore) -> None:
    sheet, _ = judged(tmp_path / "out", linear(), store, write_network(tmp_path / "teacher", SMALL_VGG))
    assert sheet.checkpoint["role"] == "teacher"
    assert any("The network is vgg16" in told for told in sheet.deviations)


@pytest.mark.parametrize(
    ("protocol", "reason", "message"),
    [
        (linear(taps=("fc7",)), Reason.bad_config, "no map called fc7; it has conv1, conv2"),
        (ClusterProtocol(tap="pool5", k=3), Reason.bad_config, "no map called pool5"),
        (linear(crop=80), Reason.bad_config, "A crop of 80 pixels can't be cut from images of 70 pixels"),
        (linear(side=48, crop=64), Reason.bad_config, "A crop of 64 pixels can't be cut from images of 48 pixels"),
        (ClusterProtocol(k=500), Reason.k_too_large, "k = 500 clusters can't be made of 79 labelled images"),
    ],
)
def test_refuses_what_can_t_be_done(
    tmp_path: Path, store: ImageStore, checkpoint: Path, protocol: AnyProbe, reason: Reason, message: str
) -> None:
    with pytest.raises(StageError, match=message) as refused:
        judged(tmp_path / "out", protocol, store, checkpoint)
    assert refused.value.reason is reason


@pytest.mark.parametrize("protocol", [linear(), ClusterProtocol(k=2)])
@pytest.mark.parametrize(
    ("labels", "message"),
    [([None] * 12, "The dataset has no labels"), (["one"] * 12, "Fewer than two classes of the dataset")],
)
def test_without_labels_nothing_can_be_judged(
    tmp_path: Path, checkpoint: Path, protocol: AnyProbe, labels: list[str | None], message: str
) -> None:
    store = small_store(tmp_path / "poor", 12, 70, labels)
    with pytest.raises(StageError, match=message) as refused:
        judged(tmp_path / "out", protocol, store, checkpoint)
    assert refused.value.reason is Reason.bad_labels


@pytest.mark.parametrize("looks", [0, 2, 10])
def test_stops_between_steps_and_leaves_nothing(
    tmp_path: Path, store: ImageStore, checkpoint: Path, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.evaluation.features.HOST_BYTES", 0)
    context = LocalContext(tmp_path / "out", stop_after=looks)
    with pytest.raises(Stopped):
        run(ProbeConfig(protocol=linear()), ProbeInputs(store=store.path, checkpoint=checkpoint), context)
    assert not list(context.workdir.iterdir())


@pytest.mark.parametrize(
    ("protocol", "looks"),
    [
        (NonlinearProtocol(columns=("conv4", "conv5"), epochs=1, width=16, crops=1, seeds=(0,)), 0),
        (LowShotProtocol(taps=("conv1",), shares=(0.1, 0.5), max_dims=64, seeds=(0,), steps=2, epochs=2), 4),
        (LowShotProtocol(taps=("conv1",), shares=(0.1, 0.5), max_dims=64, seeds=(0,), steps=2, epochs=2), 7),
    ],
)
def test_a_stopped_training_goes_on_to_the_same_sheet_and_leaves_its_state_behind(
    tmp_path: Path, store: ImageStore, checkpoint: Path, protocol: AnyProbe, looks: int
) -> None:
    """Two trainings of two steps and one look at the held-out images, then linear probes, are the low-shot one."""
    whole, right = judged(tmp_path / "whole", protocol, store, checkpoint)
    config, inputs = ProbeConfig(protocol=protocol), ProbeInputs(store=store.path, checkpoint=checkpoint)
    first, second = tmp_path / "first", tmp_path / "second"
    with pytest.raises(Stopped):
        run(config, inputs, LocalContext(first, stop_after=looks))
    assert [path.name for path in first.iterdir()] == [STATE_FILE]
    context = LocalContext(second, resume_from=first)
    made = run(config, inputs, context).evaluation
    assert any(message.startswith(("Resumed after", "Finished by an earlier")) for message in context.messages)
    assert [path.name for path in second.iterdir()] == ["evaluation"]
    sheet = ScoreSheet.model_validate(made.summary)
    assert (sheet.cells, sheet.further, sheet.trunk_unchanged) == (whole.cells, whole.further, whole.trunk_unchanged)
    for column, shares in right.items():
        np.testing.assert_array_equal(np.load(made.path / f"right_{column}.npy"), shares)


def test_progress_reaches_its_end(tmp_path: Path, store: ImageStore, checkpoint: Path) -> None:
    for number, protocol in enumerate((linear(), RetrievalProtocol(grid=0))):
        context = LocalContext(tmp_path / str(number))
        run(ProbeConfig(protocol=protocol), ProbeInputs(store=store.path, checkpoint=checkpoint), context)
        assert context.done is not None
        assert context.done[0] == context.done[1]
