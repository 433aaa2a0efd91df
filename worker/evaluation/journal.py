"""What an evaluation has done so far, kept in the work directory, so that a later attempt goes on from there."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from worker.evaluation.pulse import Pulse
from worker.stages.contract import Context, Stopped
from worker.stages.resumable import load_state, save_state

FORMAT = 3
"""Of states, and of what a training draws and minimises: an earlier number's state would go on as something else."""
SAVE_SECONDS = 60.0
"""At most so long a training goes unsaved; no effect on results."""


class Training(Protocol):
    """A training that can be saved after any step. Random numbers are no part of it: they follow from the step."""

    @property
    def step(self) -> int:
        """Steps done."""

    def state(self) -> dict[str, Any]:
        """Tensors and plain values. Raises `StageError(diverged)` rather than give what is of no use."""

    def restore(self, state: dict[str, Any]) -> None: ...


class Journal:
    """Of an evaluation that trains several networks, one after the other.

    What is finished is kept as its result; the training under way is saved every minute, and when the evaluation is
    asked to stop. Made before anything that takes long, for from then on an earlier attempt's state is this one's.
    """

    def __init__(self, context: Context, wanted: str, unchanged: Callable[[], bool] | None = None) -> None:
        """`wanted` is the `fingerprint` of what is done: the state of anything else is logged and left aside.

        `unchanged` looks whether frozen layers are as they were; asked whenever something is saved, and at the end.
        """
        state = load_state(context, wanted) or {}
        self._context = context
        self._wanted = wanted
        self._witness = unchanged
        self._unchanged: bool = state.get("unchanged", True)
        self._done: dict[str, Any] = state.get("done", {})
        self._earlier: dict[str, Any] | None = state.get("training")
        self._training: tuple[str, Training] | None = None
        self._saved = time.monotonic()
        if self._done:
            context.log(f"Finished by an earlier attempt and kept: {len(self._done)} of the trainings.")

    @property
    def unchanged(self) -> bool | None:
        """Whether the frozen layers were as at first all the time; None where nothing is frozen."""
        if self._witness is None:
            return None
        self._unchanged = self._witness() and self._unchanged
        return self._unchanged

    def result(self, name: str, make: Callable[[], dict[str, Any]], pulse: Pulse, steps: int) -> dict[str, Any]:
        """What an earlier attempt found as `name`, else what `make()` finds, which is kept: tensors and plain values.

        `steps` of the `pulse` are passed over where nothing is to be done. Raises `Stopped`, after saving, and
        `StageError(disk_full)`.
        """
        if name in self._done:
            pulse.beat(steps)
        else:
            self._done[name] = self._made(make)
            self._save()
        return dict(self._done[name])

    def begin(self, name: str, training: Training, steps: int, pulse: Pulse) -> None:
        """The training `name` of so many `steps`, restored where an earlier attempt had begun it, is saved from now on
        until the result is there."""
        if self._earlier is not None and self._earlier["name"] == name:
            training.restore(self._earlier["state"])
            self._context.log(f"Resumed after step {training.step} of {steps}.")
        self._earlier = None
        self._training = (name, training)
        self._saved = time.monotonic()
        if training.step:
            pulse.beat(training.step)

    def keep_time(self) -> None:
        """After a step: saves where a minute has passed. Raises `StageError` with disk_full or diverged."""
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self._save()

    def _made(self, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            found = make()
        except Stopped:
            if self._training is not None:
                self._save()
            raise
        self._training = None
        return found

    def _save(self) -> None:
        state: dict[str, Any] = {"fingerprints": [self._wanted], "done": self._done}
        if self._witness is not None:
            state["unchanged"] = self.unchanged
        if self._training is not None:
            name, training = self._training
            state["training"] = {"name": name, "state": training.state()}
        save_state(self._context.workdir, state)
        self._saved = time.monotonic()


def fingerprint(protocol: BaseModel, checkpoint: Path, dataset: str, *further: object) -> str:
    """Names all that an evaluation's numbers depend on: its protocol, its checkpoint (a folder), the digest of its
    dataset, and `further` JSON values, as the precision."""
    files = [hashlib.sha256((checkpoint / name).read_bytes()).hexdigest() for name in ("checkpoint.json", "model.pt")]
    facts = [FORMAT, protocol.model_dump(mode="json"), files, dataset, *further]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
