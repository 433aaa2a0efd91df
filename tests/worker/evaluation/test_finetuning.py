from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.worker.evaluation.attempts import interrupted, metrics
from tests.worker.evaluation.plain_colours import CROP, SIDE, coloured_split, coloured_store, write_student
from worker.config.probe import LowShotProtocol
from worker.data.store import ImageStore
from worker.evaluation.finetuning import (
    Batch,
    CrossEntropy,
    LabelledImages,
    Learner,
    Recipe,
    Training,
    fit,
    half_cosine,
    low_shot_finetuning,
    new_head,
    training_rows,
)
from worker.evaluation.journal import Journal
from worker.evaluation.pulse import Pulse
from worker.evaluation.score import Outcome
from worker.evaluation.taps import View
from worker.stages.contract import Stopped
from worker.stages.standalone import LocalContext

CPU = torch.device("cpu")
Batches = Callable[[int], Iterator[Batch]]
INPUTS = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 3


def linear() -> nn.Linear:
    layer = nn.Linear(5, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-1, 1, 15).reshape(3, 5))
        layer.bias.copy_(torch.tensor([0.5, 0.0, -0.5]))
    return layer


def same_batch(first: int = 0, name: str = "layer") -> Iterator[Batch]:
    while True:
        yield Batch({name: INPUTS}, CrossEntropy(LABELS))


def fitted(learners: dict[str, Learner], batches: Batches, steps: int, context: LocalContext) -> Training:
    return fit(learners, batches, steps, Pulse(context, steps), Journal(context, "this"), "loss")


def slow_sgd(recipe: Recipe, steps: int) -> nn.Linear:
    """The same training, every update written out."""
    layer = linear()
    speed = {name: torch.zeros_like(value) for name, value in layer.named_parameters()}
    for step in range(steps):
        gradients = torch.autograd.grad(nn.functional.cross_entropy(layer(INPUTS), LABELS), list(layer.parameters()))
        norm = float(torch.cat([gradient.flatten() for gradient in gradients]).norm())
        shrink = 1.0 if recipe.clip_norm is None else min(1.0, recipe.clip_norm / norm)
        for (name, value), gradient in zip(layer.named_parameters(), gradients, strict=True):
            is_bias = name == "bias"
            decay = recipe.weight_decay if recipe.decay_biases or not is_bias else 0.0
            rate = recipe.lr * recipe.rate(step / steps) * (recipe.bias_rate if is_bias else 1.0)
            speed[name] = 0.9 * speed[name] + shrink * gradient + decay * value.detach()
            value.data -= rate * speed[name]
    return layer


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(0.1, 0.01, half_cosine),
        Recipe(0.1, 0.1, lambda progress: 1.0, bias_rate=2.0, decay_biases=True, clip_norm=0.2),
    ],
)
def test_trains_by_sgd_as_the_recipe_says(tmp_path: Path, recipe: Recipe) -> None:
    learner = Learner(linear(), recipe, 0, "layer", CPU, "fp32")
    fitted({"layer": learner}, same_batch, 6, LocalContext(tmp_path))
    expected = slow_sgd(recipe, 6)
    torch.testing.assert_close(learner.layers.weight, expected.weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(learner.layers.bias, expected.bias, rtol=1e-4, atol=1e-5)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


def numbered_batches(first: int) -> Iterator[Batch]:
    for step in range(first, 7):
        inputs = torch.randn(12, 5, generator=torch.Generator().manual_seed(step))
        yield Batch({"a": inputs, "b": inputs}, CrossEntropy(LABELS))


@pytest.mark.parametrize("looks", [[0], [3], [6], [1, 3]])
@pytest.mark.parametrize("killed", [False, True])
def test_an_interrupted_training_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: list[int], killed: bool
) -> None:
    monkeypatch.setattr("worker.evaluation.loss_curves.POINTS", 2)  # after steps 3 and 6: stops lie between
    if killed:
        monkeypatch.setattr("worker.evaluation.journal.SAVE_SECONDS", 0.0)
    rates: list[float] = []

    def rate(progress: float) -> float:
        rates.append(progress)
        return half_cosine(progress)

    def work(context: LocalContext) -> dict[str, Learner]:
        learners = {name: Learner(network(), Recipe(0.1, 0.01, rate), 0, name, CPU, "fp32") for name in "ab"}

        def trained() -> dict[str, Any]:
            losses.append(fit(learners, numbered_batches, 7, pulse, journal, "loss").losses)
            return {}

        pulse, journal = Pulse(context, 7), Journal(context, "this")
        journal.result("loss", trained, pulse, 7)
        return learners

    losses: list[dict[str, float]] = []
    straight = LocalContext(tmp_path / "straight")
    whole = work(straight)
    steady, rates = list(rates), []
    gone_on, contexts = interrupted(work, tmp_path, looks, killed)
    for name, learner in gone_on.items():
        expected = whole[name].layers.state_dict()
        assert all(torch.equal(found, expected[key]) for key, found in learner.layers.state_dict().items())
    assert losses[0] == losses[1]
    if not killed:
        # What a killed attempt did after its last saving is done, and told, again.
        assert rates == steady
        assert metrics(contexts) == straight.metrics
    assert sorted(set(metrics(contexts))) == sorted(straight.metrics)


def test_tells_the_mean_loss_of_the_last_steps(tmp_path: Path) -> None:
    context = LocalContext(tmp_path)
    still = Learner(linear(), Recipe(1e-12, 0, half_cosine), 0, "layer", CPU, "fp32")
    told = fitted({"layer": still}, same_batch, 3, context).losses
    loss = nn.functional.cross_entropy(linear()(INPUTS), LABELS).item()
    assert told["layer"] == pytest.approx(loss)
    assert [name for name, _, _ in context.metrics] == ["loss_layer"] * 3


def test_a_learner_beside_another_learns_the_same(tmp_path: Path) -> None:
    def layers() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Dropout(0.5), nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 3))

    recipe = Recipe(0.1, 0, half_cosine)
    alone = {"a": Learner(layers(), recipe, 0, "a", CPU, "fp32")}
    both = {name: Learner(layers(), recipe, 0, name, CPU, "fp32") for name in ("b", "a")}
    batch = Batch({"a": INPUTS, "b": INPUTS}, CrossEntropy(LABELS))
    for learners in (alone, both):
        fitted(learners, lambda first: iter([batch] * 5), 5, LocalContext(tmp_path))
    assert torch.equal(alone["a"].layers[1].weight, both["a"].layers[1].weight)
    assert not torch.equal(both["a"].layers[1].weight, both["b"].layers[1].weight)


@pytest.mark.parametrize("fixed", [True, False])
def test_batch_norm_keeps_its_statistics_where_they_are_fixed(tmp_path: Path, fixed: bool) -> None:
    layers = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3))
    learner = Learner(layers, Recipe(0.1, 0, half_cosine), 0, "layer", CPU, "fp32", fixed_statistics=fixed)
    fitted({"layer": learner}, same_batch, 2, LocalContext(tmp_path))
    norm = layers[0]
    assert bool((norm.running_mean == 0).all()) is fixed
    assert not bool((norm.weight == 1).all())  # what it scales by is learnt either way


def test_logits_are_in_eval_mode_and_without_gradients() -> None:
    learner = Learner(nn.Sequential(nn.Dropout(0.9), linear()), Recipe(0.1, 0, half_cosine), 0, "layer", CPU, "fp32")
    learner.training_mode()
    found = learner.logits(INPUTS)
    torch.testing.assert_close(found, linear()(INPUTS))
    assert not found.requires_grad


@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 60), st.integers(0, 3))
def test_an_epoch_shows_no_row_twice(count: int, batch: int, steps: int, seed: int) -> None:
    rows = list(training_rows(count, batch, steps, seed))
    size = min(batch, count)
    each = count // size
    assert [len(part) for part in rows] == [size] * steps
    for start in range(0, steps, each):
        epoch = np.concatenate(rows[start : start + each])
        assert len(np.unique(epoch)) == len(epoch)
        assert set(epoch.tolist()) <= set(range(count))


def test_a_shorter_training_shows_the_beginning_of_a_longer_one() -> None:
    short, long = list(training_rows(10, 3, 4, 0)), list(training_rows(10, 3, 9, 0))
    assert all(np.array_equal(one, other) for one, other in zip(short, long, strict=False))


def test_a_new_head_is_alexnet_s_with_two_hidden_layers() -> None:
    torch.manual_seed(0)
    head = new_head(100, 2, 300, 20)
    kinds = [type(layer).__name__ for layer in head]
    assert kinds == ["Dropout", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Linear"]
    linears = [layer for layer in head if isinstance(layer, nn.Linear)]
    stds = [layer.weight.std().item() for layer in linears]
    assert stds == pytest.approx([(2 / 100) ** 0.5, (2 / 300) ** 0.5, 0.01], rel=0.05)
    assert all(not layer.bias.any() for layer in linears)


def test_a_batch_s_random_crops_are_windows_of_its_images_or_their_mirrors(tmp_path: Path) -> None:
    store = coloured_store(tmp_path / "store")
    split = coloured_split(store)
    rows = np.flatnonzero(~split.held_out)
    images = LabelledImages(store, split, rows, View(SIDE, CROP), CPU)
    order = list(training_rows(len(images), 8, 3, seed=5))
    mirrored = 0
    for (crops, labels), chosen in zip(images.shown(8, 3, seed=5), order, strict=True):
        assert labels.tolist() == split.labels[rows[chosen]].tolist()
        for crop, row in zip(crops, chosen, strict=True):
            whole = torch.from_numpy(store.images[split.images[rows[row]]].copy()).permute(2, 0, 1)
            windows = whole.unfold(1, CROP, 1).unfold(2, CROP, 1).flatten(1, 2).transpose(0, 1)
            plain, flipped = ((windows == view).flatten(1).all(1).any() for view in (crop, crop.flip(-1)))
            assert plain or flipped
            mirrored += int(flipped)
    assert 0 < mirrored < 24


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return coloured_store(tmp_path / "store")


def low_shot(store: ImageStore, path: Path, stop_after: int | None = None, **protocol: Any) -> dict[str, Outcome]:  # noqa: ANN401
    asked = LowShotProtocol(**{"shares": (0.1, 1.0), "seeds": (0,), "steps": 3, "lr": 0.02, **protocol})
    student, context = write_student(path / "student"), LocalContext(path / "work", stop_after=stop_after)
    return low_shot_finetuning(asked, student, store, coloured_split(store), View(SIDE, CROP), CPU, "fp32", context)


def test_low_shot_has_a_column_for_each_share(tmp_path: Path, store: ImageStore) -> None:
    split = coloured_split(store)
    found = low_shot(store, tmp_path, seeds=(0, 1))
    assert list(found) == ["finetune_0.1", "finetune_1"]
    taught = np.bincount(split.labels[~split.held_out])
    assert found["finetune_1"].facts["labels"] == taught.sum()
    assert found["finetune_0.1"].facts["labels"] == np.ceil(taught * 0.1).sum()
    for outcome in found.values():
        assert outcome.right.shape == (2, split.held_out.sum())
        assert outcome.trunk_unchanged is None


def test_the_whole_network_learns_from_a_few_labels(tmp_path: Path, store: ImageStore) -> None:
    found = low_shot(store, tmp_path, shares=(0.1,), steps=40)
    assert found["finetune_0.1"].right.mean() > 0.9


def test_low_shot_is_the_same_under_the_same_seed(tmp_path: Path, store: ImageStore) -> None:
    first, again = (low_shot(store, tmp_path / name, shares=(0.3,))["finetune_0.3"].right for name in "ab")
    assert np.array_equal(first, again)


def test_low_shot_leaves_the_checkpoint_alone(tmp_path: Path, store: ImageStore) -> None:
    low_shot(store, tmp_path, shares=(0.3,))
    after = (tmp_path / "student" / "model.pt").read_bytes()
    write_student(tmp_path / "other")
    assert after == (tmp_path / "other" / "model.pt").read_bytes()


def test_low_shot_stops_between_steps(tmp_path: Path, store: ImageStore) -> None:
    with pytest.raises(Stopped):
        low_shot(store, tmp_path, stop_after=2)


@pytest.mark.parametrize("looks", [[1], [3], [6], [2, 4, 1]])
def test_low_shot_goes_on_where_it_was_stopped(tmp_path: Path, store: ImageStore, looks: list[int]) -> None:
    """Each of four trainings is three steps and a look at the held-out images."""
    student, split = write_student(tmp_path / "student"), coloured_split(store)
    asked = LowShotProtocol(shares=(0.1, 1.0), seeds=(0, 1), steps=3, lr=0.02)

    def work(context: LocalContext) -> dict[str, Outcome]:
        return low_shot_finetuning(asked, student, store, split, View(SIDE, CROP), CPU, "fp32", context)

    straight = LocalContext(tmp_path / "straight")
    whole, (found, contexts) = work(straight), interrupted(work, tmp_path, looks)
    for column, outcome in whole.items():
        assert np.array_equal(found[column].right, outcome.right)
        assert found[column].facts == outcome.facts
    assert metrics(contexts) == straight.metrics
    assert contexts[-1].done == straight.done


def test_low_shot_of_another_checkpoint_starts_afresh(tmp_path: Path, store: ImageStore) -> None:
    """Of the same architecture, so that its state would fit."""
    with pytest.raises(Stopped):
        low_shot(store, tmp_path, stop_after=2)
    other = write_student(tmp_path / "other")
    saved = torch.load(other / "model.pt", weights_only=True)
    saved["backbone"] = {name: value * 2 for name, value in saved["backbone"].items()}
    torch.save(saved, other / "model.pt")
    asked, split = LowShotProtocol(shares=(0.1, 1.0), seeds=(0,), steps=3, lr=0.02), coloured_split(store)
    contexts = [LocalContext(tmp_path / name, resume_from=tmp_path / "work") for name in ("same", "next")]
    for context, student in zip(contexts, (tmp_path / "student", other), strict=True):
        low_shot_finetuning(asked, student, store, split, View(SIDE, CROP), CPU, "fp32", context)
    assert contexts[0].messages == ["Resumed after step 3 of 3."]
    assert len(contexts[1].messages) == 1
    assert "starting afresh" in contexts[1].messages[0]


def test_cross_entropy_is_that_of_the_labels() -> None:
    logits: Tensor = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
    slow = -torch.stack([logits[row].log_softmax(0)[label] for row, label in enumerate(LABELS)]).mean()
    torch.testing.assert_close(CrossEntropy(LABELS)(logits), slow)
