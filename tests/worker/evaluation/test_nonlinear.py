from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.checkpoint import load_classifier
from tests.worker.evaluation.attempts import interrupted, metrics
from tests.worker.evaluation.plain_colours import CROP, coloured_split, coloured_store, judged, write_student
from worker.config.probe import NonlinearProtocol
from worker.config.reasons import Reason
from worker.data.store import ImageStore
from worker.evaluation.frozen_layers import FrozenLayers
from worker.evaluation.nonlinear import run_nonlinear
from worker.evaluation.score import Outcome
from worker.stages.contract import StageError, Stopped
from worker.stages.standalone import LocalContext

CPU = torch.device("cpu")
ALL = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return coloured_store(tmp_path / "store")


@pytest.fixture
def student(tmp_path: Path) -> Path:
    return write_student(tmp_path / "student")


def probe(
    store: ImageStore,
    student: Path,
    context: LocalContext,
    crop: int = CROP,
    **protocol: Any,  # noqa: ANN401
) -> dict[str, Outcome]:
    asked = NonlinearProtocol(
        **{"seeds": (0,), "epochs": 2, "training_batch": 16, "width": 16, "crops": 1, "batch": 32, **protocol}
    )
    return run_nonlinear(asked, judged(store, student, context, crop), coloured_split(store))


def test_every_column_of_a_student_with_a_classifier(tmp_path: Path, store: ImageStore, student: Path) -> None:
    found = probe(store, student, LocalContext(tmp_path / "work"), seeds=(0, 1), crops=10)
    held = int(coloured_split(store).held_out.sum())
    assert tuple(found) == ALL
    for outcome in found.values():
        assert outcome.right.shape == (2, held)
        assert set(np.unique(outcome.right)) <= {0, 1}
        assert outcome.top5 is None  # there are three classes only
        assert outcome.trunk_unchanged is True


def test_new_layers_learn_what_the_frozen_ones_show(tmp_path: Path, store: ImageStore, student: Path) -> None:
    columns = ("conv1", "conv4", "fc7")
    found = probe(store, student, LocalContext(tmp_path / "work"), columns=columns, epochs=50, width=64)
    assert {column: outcome.right.mean() for column, outcome in found.items()} == pytest.approx(
        {"conv1": 1, "conv4": 1, "fc7": 1}, abs=0.1
    )


def test_a_checkpoint_without_a_classifier_has_no_fc_columns(tmp_path: Path, store: ImageStore) -> None:
    context = LocalContext(tmp_path / "work")
    found = probe(store, write_student(tmp_path / "trunk", clusters=0), context, columns=("conv5", "fc6", "conv9"))
    assert list(found) == ["conv5"]
    assert context.messages == [
        "column fc6 is left out: the checkpoint has no such layer",
        "column conv9 is left out: the checkpoint has no such layer",
    ]


def test_the_checkpoint_is_bit_equal_afterwards(tmp_path: Path, store: ImageStore, student: Path) -> None:
    before = (student / "model.pt").read_bytes()
    probe(store, student, LocalContext(tmp_path / "work"))
    assert (student / "model.pt").read_bytes() == before


def test_frozen_batch_norm_that_moved_would_be_seen(student: Path) -> None:
    frozen = FrozenLayers.open(student, CPU, "fp32")
    before = frozen.digest()
    images = torch.randint(0, 256, (8, 3, CROP, CROP), dtype=torch.uint8)
    frozen.maps(images, ["conv5"])
    assert frozen.digest() == before
    frozen.layers.train()
    frozen.maps(images, ["conv5"])
    assert frozen.digest() != before


def test_frozen_maps_are_the_network_s_own(student: Path) -> None:
    record, backbone, head = load_classifier(student)
    images = torch.randint(0, 256, (4, 3, CROP, CROP), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pixels = record.pixels.apply(images)
        expected = dict(backbone.taps(pixels, ALL[:5]))
        x = head.avgpool(backbone(pixels)).flatten(1)
        for name, linear in (("fc6", head.classifier[1]), ("fc7", head.classifier[4])):
            x = expected[name] = torch.relu(linear(x))
    found = FrozenLayers.open(student, CPU, "fp32").maps(images, ALL)
    assert found.keys() == expected.keys()
    for column, maps in found.items():
        torch.testing.assert_close(maps, expected[column])


@pytest.mark.parametrize(("column", "convolutions", "linears"), [("conv1", 4, 3), ("conv4", 1, 3), ("conv5", 0, 3)])
def test_everything_after_a_layer_is_new(student: Path, column: str, convolutions: int, linears: int) -> None:
    frozen = FrozenLayers.open(student, CPU, "fp32")
    new = list(frozen.new_layers_after(column, 16, 3))
    found = [layer for layer in new if isinstance(layer, nn.Conv2d)]
    assert (len(found), sum(isinstance(layer, nn.Linear) for layer in new)) == (convolutions, linears)
    old = [layer for layer in frozen.backbone.features if isinstance(layer, nn.Conv2d)][5 - convolutions :]
    for fresh, trained in zip(found, old, strict=True):
        assert fresh.weight.shape == trained.weight.shape
        assert not torch.equal(fresh.weight, trained.weight)


def test_fc7_is_followed_by_one_linear_layer_and_fc6_by_two(student: Path) -> None:
    frozen = FrozenLayers.open(student, CPU, "fp32")
    shapes = {
        column: [
            (layer.in_features, layer.out_features)
            for layer in frozen.new_layers_after(column, 24, 3)
            if isinstance(layer, nn.Linear)
        ]
        for column in ("fc6", "fc7")
    }
    assert shapes == {"fc6": [(16, 24), (24, 3)], "fc7": [(16, 3)]}


def test_a_column_is_the_same_alone_and_beside_others(tmp_path: Path, store: ImageStore, student: Path) -> None:
    contexts = LocalContext(tmp_path / "a"), LocalContext(tmp_path / "b")
    beside = probe(store, student, contexts[0], columns=("conv2", "conv4", "fc6"))["conv4"]
    alone = probe(store, student, contexts[1], columns=("conv4",))["conv4"]
    assert np.array_equal(beside.right, alone.right)
    assert beside.facts["loss"] == alone.facts["loss"]


def test_the_seed_decides(tmp_path: Path, store: ImageStore, student: Path) -> None:
    losses = [
        probe(store, student, LocalContext(tmp_path / str(place)), columns=("conv3",), seeds=(seed,))["conv3"].facts
        for place, seed in enumerate((0, 0, 1))
    ]
    assert losses[0]["loss"] == losses[1]["loss"] != losses[2]["loss"]


def test_torch_s_generator_is_left_as_it_was(tmp_path: Path, store: ImageStore, student: Path) -> None:
    before = torch.get_rng_state()
    probe(store, student, LocalContext(tmp_path / "work"), columns=("conv5",))
    assert torch.equal(torch.get_rng_state(), before)


def test_stops_between_steps(tmp_path: Path, store: ImageStore, student: Path) -> None:
    with pytest.raises(Stopped):
        probe(store, student, LocalContext(tmp_path / "work", stop_after=2), columns=("conv5",))


@pytest.mark.parametrize(("looks", "killed"), [([1], False), ([4], False), ([6, 4], False), ([7], True)])
def test_goes_on_where_it_was_interrupted(
    tmp_path: Path,
    store: ImageStore,
    student: Path,
    monkeypatch: pytest.MonkeyPatch,
    looks: list[int],
    killed: bool,
) -> None:
    """Each of two seeds is four steps and a look at the judging images."""
    if killed:
        monkeypatch.setattr("worker.evaluation.journal.SAVE_SECONDS", 0.0)

    def work(context: LocalContext) -> dict[str, Outcome]:
        return probe(store, student, context, columns=("conv2", "conv5", "fc7"), seeds=(0, 1))

    straight = LocalContext(tmp_path / "straight")
    whole, (found, contexts) = work(straight), interrupted(work, tmp_path, looks, killed)
    for column, outcome in whole.items():
        assert np.array_equal(found[column].right, outcome.right)
        assert found[column].facts["loss"] == outcome.facts["loss"]
        assert found[column].trunk_unchanged is True
    assert list(dict.fromkeys(metrics(contexts))) == straight.metrics
    assert contexts[-1].done == straight.done


def test_the_state_of_other_labels_is_left_aside(tmp_path: Path, store: ImageStore, student: Path) -> None:
    with pytest.raises(Stopped):
        probe(store, student, LocalContext(tmp_path / "first", stop_after=2), columns=("conv5",))
    context = LocalContext(tmp_path / "second", resume_from=tmp_path / "first")
    split = coloured_split(store)
    swapped = replace(split, labels=(split.labels + 1) % 3)
    asked = NonlinearProtocol(columns=("conv5",), seeds=(0,), epochs=2, training_batch=16, width=16, crops=1, batch=32)
    run_nonlinear(asked, judged(store, student, context), swapped)
    assert any("starting afresh" in message for message in context.messages)


def test_a_rate_that_is_too_high_is_said_to_diverge(tmp_path: Path, store: ImageStore, student: Path) -> None:
    with pytest.raises(StageError, match=r"conv5 diverged at step \d+") as caught:
        probe(store, student, LocalContext(tmp_path / "work"), columns=("conv5",), lr=1e30)
    assert caught.value.reason is Reason.diverged


def test_a_crop_that_the_network_shrinks_to_nothing_is_refused(
    tmp_path: Path, store: ImageStore, student: Path
) -> None:
    with pytest.raises(StageError, match="A crop of 8 pixels") as caught:
        probe(store, student, LocalContext(tmp_path / "work"), crop=8)
    assert caught.value.reason is Reason.bad_config


def test_progress_ends_at_the_end(tmp_path: Path, store: ImageStore, student: Path) -> None:
    context = LocalContext(tmp_path / "work")
    probe(store, student, context, columns=("conv5",))
    assert context.done is not None
    assert context.done[0] == context.done[1]


def test_no_column_at_all_is_no_outcome(tmp_path: Path, store: ImageStore, student: Path) -> None:
    assert probe(store, student, LocalContext(tmp_path / "work"), columns=("conv9",)) == {}


def test_outcomes_are_those_of_the_held_out_images(tmp_path: Path, store: ImageStore, student: Path) -> None:
    split = coloured_split(store)
    swapped = replace(split, labels=np.where(split.held_out, (split.labels + 1) % 3, split.labels))
    asked = NonlinearProtocol(columns=("conv1",), seeds=(0,), epochs=25, training_batch=16, width=16, crops=1)
    found = run_nonlinear(asked, judged(store, student, LocalContext(tmp_path / "work")), swapped)
    assert found["conv1"].right.mean() < 0.1  # taught right, judged by wrong labels
