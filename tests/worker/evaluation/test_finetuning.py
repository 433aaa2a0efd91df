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
from worker.evaluation.finetuning import Batch, CrossEntropy, Training, fit, training_rows
from worker.evaluation.journal import Journal
from worker.evaluation.learner import Learner, Recipe, half_cosine
from worker.evaluation.pulse import Pulse
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


def test_cross_entropy_is_that_of_the_labels() -> None:
    logits: Tensor = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
    slow = -torch.stack([logits[row].log_softmax(0)[label] for row, label in enumerate(LABELS)]).mean()
    torch.testing.assert_close(CrossEntropy(LABELS)(logits), slow)
