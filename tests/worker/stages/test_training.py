"""The shared loop, through the puzzles: stopping, resuming, measuring, failing."""

import errno
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.worker.stages.striped import puzzle_config, same_weights, striped_store, with_pretext
from worker.config.pretrain import PretrainConfig
from worker.config.reasons import Reason
from worker.config.schedule import TrainingSchedule
from worker.pretext.task import Scored
from worker.stages.contract import StageError, Stopped
from worker.stages.curves import Curves
from worker.stages.measure import FEWEST_STEPS
from worker.stages.pretrain import PretrainInputs, run
from worker.stages.resumable import STATE_FILE
from worker.stages.standalone import LocalContext
from worker.stages.stepper import make_optimizer


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 images: three batches of six an epoch, two images left over."""
    return striped_store(tmp_path_factory.mktemp("data") / "store", 20, 48)


def _train(store: Path, config: PretrainConfig, context: LocalContext) -> Path:
    return run(config, PretrainInputs(store=store), context).teacher.path


def _stopped(store: Path, config: PretrainConfig, workdir: Path, looks: int, earlier: Path | None = None) -> Path:
    context = LocalContext(workdir, stop_after=looks, resume_from=earlier)
    with pytest.raises(Stopped):
        _train(store, config, context)
    return workdir


def _curve(context: LocalContext, name: str) -> dict[int, float]:
    return {step: value for metric, step, value in context.metrics if metric == name}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("puzzles_per_image", [1, 2])
def test_a_stopped_and_resumed_training_equals_an_uninterrupted_one(
    store: Path, tmp_path: Path, precision: str, puzzles_per_image: int
) -> None:
    config = with_pretext(puzzle_config(precision=precision), puzzles_per_image=puzzles_per_image)
    whole, rest = LocalContext(tmp_path / "whole"), LocalContext(tmp_path / "rest", resume_from=tmp_path / "part")
    straight = _train(store, config, whole)
    _stopped(store, config, tmp_path / "part", looks=4)
    resumed = _train(store, config, rest)
    assert same_weights(straight, resumed)
    assert any("Resumed after step 4 of 9" in message for message in rest.messages)
    later = {step: loss for step, loss in _curve(whole, "loss").items() if step > 4}
    assert later == _curve(rest, "loss")


def test_an_attempt_that_saved_nothing_passes_on_what_it_took_over(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _stopped(store, puzzle_config(), tmp_path / "1", looks=5)
    second = LocalContext(tmp_path / "2", resume_from=first)
    with monkeypatch.context() as broken:
        broken.setattr("worker.stages.training.Trainer.fit", _fail)
        with pytest.raises(KeyboardInterrupt):
            _train(store, puzzle_config(), second)
    third = LocalContext(tmp_path / "3", resume_from=tmp_path / "2")
    _train(store, puzzle_config(), third)
    assert any("Resumed after step 5" in message for message in third.messages)


def _fail(_: object) -> None:
    raise KeyboardInterrupt


def test_the_state_of_another_config_is_left_aside(store: Path, tmp_path: Path) -> None:
    _stopped(store, puzzle_config(), tmp_path / "part", looks=4)
    other = LocalContext(tmp_path / "other", resume_from=tmp_path / "part")
    fresh = LocalContext(tmp_path / "fresh")
    config = puzzle_config(lr=0.01)
    assert same_weights(_train(store, config, other), _train(store, config, fresh))
    assert any("starting afresh" in message for message in other.messages)


def test_the_state_of_other_images_is_left_aside(store: Path, tmp_path: Path) -> None:
    _stopped(store, puzzle_config(), tmp_path / "part", looks=4)
    other = LocalContext(tmp_path / "other", resume_from=tmp_path / "part")
    _train(striped_store(tmp_path / "store", 19, 48), puzzle_config(), other)
    assert any("starting afresh" in message for message in other.messages)


def test_a_damaged_state_is_left_aside(store: Path, tmp_path: Path) -> None:
    part = _stopped(store, puzzle_config(), tmp_path / "part", looks=4)
    content = (part / STATE_FILE).read_bytes()
    (part / STATE_FILE).write_bytes(content[: len(content) // 2])
    context = LocalContext(tmp_path / "next", resume_from=part)
    _train(store, puzzle_config(), context)
    assert any("starting afresh" in message for message in context.messages)


def test_how_often_to_save_changes_no_result_and_hinders_no_resuming(store: Path, tmp_path: Path) -> None:
    part = _stopped(store, puzzle_config(), tmp_path / "part", looks=4)
    often = puzzle_config(checkpoint_seconds=1e-9)
    context = LocalContext(tmp_path / "rest", resume_from=part)
    assert same_weights(_train(store, often, context), _train(store, often, LocalContext(tmp_path / "whole")))
    assert any("Resumed" in message for message in context.messages)
    assert torch.load(tmp_path / "whole" / STATE_FILE, weights_only=True)["step"] == 8


def test_auto_epochs_train_as_the_epochs_they_resolve_to(store: Path, tmp_path: Path) -> None:
    """Measuring leaves no trace in weights or random numbers."""
    auto = LocalContext(tmp_path / "auto")
    measured = _train(store, puzzle_config(epochs="auto", minutes=1e-6), auto)
    assert isinstance(auto.config, PretrainConfig)
    assert auto.config.schedule.epochs == pytest.approx(FEWEST_STEPS / 3)
    explicit = _train(store, auto.config, LocalContext(tmp_path / "explicit"))
    assert same_weights(measured, explicit)


def test_a_resumed_auto_training_keeps_its_epochs(store: Path, tmp_path: Path) -> None:
    config = puzzle_config(epochs="auto", minutes=1e-6, precision="auto")
    first = LocalContext(tmp_path / "1", stop_after=4 + 6)
    with pytest.raises(Stopped):
        _train(store, config, first)
    second = LocalContext(tmp_path / "2", resume_from=tmp_path / "1")
    _train(store, config, second)
    assert second.config == first.config
    by_resolved = LocalContext(tmp_path / "3", resume_from=tmp_path / "1")
    assert isinstance(first.config, PretrainConfig)
    _train(store, first.config, by_resolved)
    assert any("Resumed after step 6" in message for message in by_resolved.messages)


def test_an_auto_training_that_became_slow_is_shortened_and_says_so(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.stages.training.PROGRESS_SECONDS", 0)
    monkeypatch.setattr("worker.stages.training.affordable_total", lambda step, total, *_: min(total, 7))
    context = LocalContext(tmp_path / "auto")
    _train(store, puzzle_config(epochs="auto", minutes=1e-6), context)
    assert isinstance(context.config, PretrainConfig)
    assert context.config.schedule.epochs == pytest.approx(7 / 3)
    assert context.done == (7 * 6, 7 * 6, "images")
    assert any("instead of 10" in message for message in context.messages)
    # The state that was saved with the shorter plan fits the config that was reported with it.
    again = LocalContext(tmp_path / "again", resume_from=tmp_path / "auto")
    _train(store, context.config, again)
    assert any("Resumed after step" in message for message in again.messages)


def test_epochs_that_were_asked_for_are_never_shortened(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.stages.training.PROGRESS_SECONDS", 0)
    monkeypatch.setattr("worker.stages.training.affordable_total", lambda *_: 1)
    context = LocalContext(tmp_path / "whole")
    _train(store, puzzle_config(minutes=1e-6), context)
    assert context.done == (9 * 6, 9 * 6, "images")


def test_nothing_is_left_auto(store: Path, tmp_path: Path) -> None:
    context = LocalContext(tmp_path)
    _train(store, puzzle_config(epochs="auto", minutes=1e-6, precision="auto"), context)
    assert context.config is not None
    assert '"auto"' not in context.config.model_dump_json()


def test_the_callers_random_numbers_are_left_alone(store: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    _train(store, puzzle_config(epochs=1), LocalContext(tmp_path))
    assert torch.equal(torch.rand(3), expected)


def test_the_seed_decides_the_weights(store: Path, tmp_path: Path) -> None:
    one = _train(store, puzzle_config(), LocalContext(tmp_path / "1"))
    again = _train(store, puzzle_config(), LocalContext(tmp_path / "2"))
    other = _train(store, puzzle_config().model_copy(update={"seed": 1}), LocalContext(tmp_path / "3"))
    assert same_weights(one, again)
    assert not same_weights(one, other)


def test_a_full_disk_keeps_the_state_saved_before(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = _stopped(store, puzzle_config(), tmp_path / "part", looks=4)
    saved = (part / STATE_FILE).read_bytes()
    monkeypatch.setattr("worker.stages.resumable.os.fsync", _disk_full)
    context = LocalContext(tmp_path / "next", resume_from=part, stop_after=2)
    with pytest.raises(StageError, match="disk is full") as caught:
        _train(store, puzzle_config(), context)
    assert caught.value.reason is Reason.disk_full
    assert (tmp_path / "next" / STATE_FILE).read_bytes() == saved
    assert {path.name for path in (tmp_path / "next").rglob("*")} == {STATE_FILE, "teacher", "preview.png"}


def _disk_full(_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_loss_that_is_no_number_ends_the_training(store: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="diverged") as caught:
        _train(store, puzzle_config(lr=1e30), LocalContext(tmp_path))
    assert caught.value.reason is Reason.diverged
    assert not (tmp_path / "teacher" / "checkpoint.json").exists()


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("can't allocate memory")]
)
def test_exhausted_memory_is_said(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def exhausted(*_: object) -> None:
        raise error

    monkeypatch.setattr("worker.stages.stepper.Stepper.step", exhausted)
    with pytest.raises(StageError, match="Memory ran out") as caught:
        _train(store, puzzle_config(), LocalContext(tmp_path))
    assert caught.value.reason is Reason.out_of_memory


def test_a_missing_gpu_is_said(store: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="cuda:99") as caught:
        _train(store, puzzle_config(), LocalContext(tmp_path, device="cuda:99"))
    assert caught.value.reason is Reason.device_unavailable


def test_a_batch_larger_than_the_set_shrinks_and_says_so(store: Path, tmp_path: Path) -> None:
    context = LocalContext(tmp_path)
    _train(store, puzzle_config(batch=64, epochs=2), context)
    assert context.done == (40, 40, "images")
    assert any("the batch shrinks from 64" in message for message in context.messages)


def test_the_curves_have_the_promised_names(store: Path, tmp_path: Path) -> None:
    context = LocalContext(tmp_path)
    _train(store, puzzle_config(), context)
    names = {name for name, _, _ in context.metrics}
    assert names == {"loss", "accuracy", "images_per_second", "data_wait_share", "learning_rate"}
    assert context.done == (9 * 6, 9 * 6, "images")


def _feed(losses: list[float], chance: int) -> LocalContext:
    context = LocalContext(Path())
    curves = Curves(context, math.log(chance), 1 / chance, len(losses), 6, torch.device("cpu"))
    for step, loss in enumerate(losses, start=1):
        curves.add(Scored(torch.tensor(loss), 6, torch.tensor(1)))
        curves.after_step(step, 0.1, 0.0)
    return context


def test_a_long_training_tells_few_points_and_fewer_lines() -> None:
    context = _feed([1.0] * 995, 8)
    assert list(_curve(context, "loss")) == list(range(5, 996, 5))
    assert 10 <= len(context.messages) <= 25


def test_a_point_is_the_mean_since_the_last_one() -> None:
    losses = [float(step) for step in range(400)]
    assert list(_curve(_feed(losses, 8), "loss").values()) == [step + 0.5 for step in range(0, 400, 2)]


def test_a_loss_that_stays_at_chance_is_remarked_on() -> None:
    warnings = [text for text in _feed([math.log(8)] * 400, 8).messages if text.startswith("Stuck at chance")]
    assert ["25%" in warnings[0], "50%" in warnings[1], "100%" in warnings[2]] == [True] * 3
    assert all("higher `schedule.lr`" in text for text in warnings)


def test_a_loss_worse_than_chance_is_told_to_go_slower() -> None:
    assert any("lower `schedule.lr`" in text for text in _feed([9.0] * 400, 8).messages)


@pytest.mark.parametrize("losses", [[1.0] * 400, [math.log(8)] * 20])
def test_a_falling_loss_and_a_short_training_are_not_remarked_on(losses: list[float]) -> None:
    assert not any(text.startswith("Stuck") for text in _feed(losses, 8).messages)


def test_only_weights_decay() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    groups: list[dict[str, Any]] = make_optimizer(network, TrainingSchedule(epochs=1)).param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(5e-4, 1), (0.0, 3)]
