import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.worker.evaluation.attempts import DoomedContext, Killed
from worker.config.probe import LowShotProtocol
from worker.config.reasons import Reason
from worker.evaluation import journal
from worker.evaluation.journal import Journal, fingerprint
from worker.evaluation.pulse import Pulse
from worker.stages.contract import StageError, Stopped
from worker.stages.resumable import STATE_FILE
from worker.stages.standalone import LocalContext

STEPS = 5


class Counting:
    """Training is counting; `values` are big enough to be hit by a stray bit."""

    def __init__(self) -> None:
        self.step = 0
        self.values = torch.zeros(1000)

    def state(self) -> dict[str, Any]:
        return {"step": self.step, "values": self.values}

    def restore(self, state: dict[str, Any]) -> None:
        self.step, self.values = state["step"], state["values"]


class Evaluation:
    """Counts to five for each of the names; `begun` tells at which step, for those that are counted at all."""

    def __init__(
        self, context: LocalContext, wanted: str = "this", unchanged: Callable[[], bool] | None = None
    ) -> None:
        self.begun: dict[str, int] = {}
        self.journal = Journal(context, wanted, unchanged)
        self._pulse = Pulse(context, 2 * STEPS)

    def run(self, *names: str) -> list[Tensor]:
        results = [self.journal.result(name, lambda name=name: self._count(name), self._pulse, STEPS) for name in names]  # type: ignore[misc]
        return [result["values"] for result in results]

    def _count(self, name: str) -> dict[str, Any]:
        counting = Counting()
        self.journal.begin(name, counting, STEPS, self._pulse)
        self.begun[name] = counting.step
        while counting.step < STEPS:
            counting.step += 1
            counting.values = counting.values + 1
            self._pulse.beat()
            self.journal.keep_time()
        return {"values": counting.values}


def stopped(path: Path, looks: int, earlier: Path | None = None) -> Path:
    context = LocalContext(path, resume_from=earlier, stop_after=looks)
    with pytest.raises(Stopped):
        Evaluation(context).run("a", "b")
    return path


def resumed(path: Path, earlier: Path, wanted: str = "this") -> tuple[Evaluation, LocalContext]:
    context = LocalContext(path, resume_from=earlier)
    evaluation = Evaluation(context, wanted)
    assert [values.tolist() for values in evaluation.run("a", "b")] == [[STEPS] * 1000] * 2
    return evaluation, context


@pytest.mark.parametrize(
    ("looks", "begun"), [(0, {"a": 1, "b": 0}), (3, {"a": 4, "b": 0}), (4, {"a": 5, "b": 0}), (5, {"b": 1})]
)
def test_what_is_finished_is_kept_and_what_is_under_way_goes_on(
    tmp_path: Path, looks: int, begun: dict[str, int]
) -> None:
    evaluation, context = resumed(tmp_path / "2", stopped(tmp_path / "1", looks))
    assert evaluation.begun == begun
    assert f"Resumed after step {next(iter(begun.values()))} of 5." in context.messages
    assert context.done == (2 * STEPS, 2 * STEPS, "steps")


@pytest.mark.parametrize(("looks", "begun"), [(3, {"a": 3, "b": 0}), (8, {"b": 3})])
def test_a_killed_attempt_loses_what_came_after_its_last_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: int, begun: dict[str, int]
) -> None:
    monkeypatch.setattr(journal, "SAVE_SECONDS", 0.0)
    with pytest.raises(Killed):
        Evaluation(DoomedContext(tmp_path / "1", stop_after=looks)).run("a", "b")
    evaluation, _ = resumed(tmp_path / "2", tmp_path / "1")
    assert evaluation.begun == begun


def test_nothing_is_saved_before_its_time(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        Evaluation(DoomedContext(tmp_path, stop_after=3)).run("a", "b")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("looks", [3, 7])
def test_an_attempt_that_ends_at_once_passes_on_what_it_found(tmp_path: Path, looks: int) -> None:
    first = stopped(tmp_path / "1", looks)
    second = stopped(tmp_path / "2", 0, first)
    assert resumed(tmp_path / "3", second)[0].begun == resumed(tmp_path / "4", first)[0].begun


def test_the_state_of_other_work_is_left_aside_and_said(tmp_path: Path) -> None:
    evaluation, context = resumed(tmp_path / "2", stopped(tmp_path / "1", 7), wanted="that")
    assert evaluation.begun == {"a": 0, "b": 0}
    assert any("starting afresh" in message for message in context.messages)


@pytest.mark.parametrize("damage", ["cut", "one bit", "another file", "no archive"])
def test_a_damaged_state_is_left_aside_and_said(tmp_path: Path, damage: str) -> None:
    first = stopped(tmp_path / "1", 7)
    file = first / STATE_FILE
    content = bytearray(file.read_bytes())
    if damage == "another file":
        torch.save([1, 2, 3], file)
    elif damage == "one bit":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        assert torch.load(file, weights_only=True)["fingerprints"] == ["this"]  # nothing else would notice
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"state")
    evaluation, context = resumed(tmp_path / "2", first)
    assert evaluation.begun == {"a": 0, "b": 0}
    assert any("starting afresh" in message for message in context.messages)


def test_a_full_disk_is_said_and_keeps_what_was_saved_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = stopped(tmp_path / "1", 3)
    saved = (first / STATE_FILE).read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("worker.stages.resumable.os.fsync", full)
    with pytest.raises(StageError, match="disk is full") as caught:
        Evaluation(LocalContext(tmp_path / "2", resume_from=first)).run("a", "b")
    assert caught.value.reason is Reason.disk_full
    assert {path.name: path.read_bytes() for path in (tmp_path / "2").iterdir()} == {STATE_FILE: saved}


def test_frozen_layers_that_moved_in_any_attempt_are_told(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        Evaluation(LocalContext(tmp_path / "1", stop_after=2), unchanged=lambda: False).run("a")
    second = Evaluation(LocalContext(tmp_path / "2", resume_from=tmp_path / "1"), unchanged=lambda: True)
    second.run("a")
    assert second.journal.unchanged is False


def test_frozen_layers_are_looked_at_in_the_end_too(tmp_path: Path) -> None:
    answers = iter([True, True, False])
    evaluation = Evaluation(LocalContext(tmp_path), unchanged=lambda: next(answers))
    evaluation.run("a", "b")
    assert evaluation.journal.unchanged is False
    assert Evaluation(LocalContext(tmp_path / "none")).journal.unchanged is None


def test_a_fingerprint_names_protocol_weights_dataset_and_more(tmp_path: Path) -> None:
    for folder, record, weights in (("a", "r", "w"), ("b", "R", "w"), ("c", "r", "W"), ("d", "r", "w")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "checkpoint.json").write_text(record)
        (tmp_path / folder / "model.pt").write_text(weights)
    first, other = LowShotProtocol(), LowShotProtocol(lr=0.5)
    assert fingerprint(first, tmp_path / "a", "x", 1) == fingerprint(LowShotProtocol(), tmp_path / "d", "x", 1)
    different = [
        fingerprint(first, tmp_path / "a", "x", 1),
        fingerprint(other, tmp_path / "a", "x", 1),
        fingerprint(first, tmp_path / "b", "x", 1),
        fingerprint(first, tmp_path / "c", "x", 1),
        fingerprint(first, tmp_path / "a", "y", 1),
        fingerprint(first, tmp_path / "a", "x", 2),
    ]
    assert len(set(different)) == len(different)
