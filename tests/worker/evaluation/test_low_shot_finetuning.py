from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.worker.evaluation.attempts import interrupted, metrics
from tests.worker.evaluation.plain_colours import coloured_split, coloured_store, judged, write_student
from worker.config.probe import LowShotProtocol
from worker.data.store import ImageStore
from worker.evaluation.low_shot_finetuning import low_shot_finetuning
from worker.evaluation.score import Outcome
from worker.stages.contract import Stopped
from worker.stages.standalone import LocalContext

CPU = torch.device("cpu")


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return coloured_store(tmp_path / "store")


def low_shot(store: ImageStore, path: Path, stop_after: int | None = None, **protocol: Any) -> dict[str, Outcome]:  # noqa: ANN401
    asked = LowShotProtocol(**{"shares": (0.1, 1.0), "seeds": (0,), "steps": 3, "lr": 0.02, **protocol})
    student, context = write_student(path / "student"), LocalContext(path / "work", stop_after=stop_after)
    return low_shot_finetuning(asked, judged(store, student, context), coloured_split(store))


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
        return low_shot_finetuning(asked, judged(store, student, context), split)

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
        low_shot_finetuning(asked, judged(store, student, context), split)
    assert contexts[0].messages == ["Resumed after step 3 of 3."]
    assert len(contexts[1].messages) == 1
    assert "starting afresh" in contexts[1].messages[0]
