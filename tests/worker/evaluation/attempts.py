"""Evaluations that end before their time, and go on in a later attempt."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from worker.stages.contract import Stopped
from worker.stages.standalone import LocalContext

T = TypeVar("T")


class Killed(BaseException):
    """A process that is killed has no last word."""


class DoomedContext(LocalContext):
    """Kills whoever asks it once too often."""

    def should_stop(self) -> bool:
        if super().should_stop():
            raise Killed
        return False


def interrupted(
    work: Callable[[LocalContext], T], path: Path, looks: Sequence[int], killed: bool = False
) -> tuple[T, list[LocalContext]]:
    """What `work` gives in the end, after an attempt for each of `looks` that was stopped, or `killed`, after so many
    looks at its context; and the contexts of all attempts."""
    kind, end = (DoomedContext, Killed) if killed else (LocalContext, Stopped)
    contexts: list[LocalContext] = []
    for number, stop_after in enumerate(looks):
        earlier = contexts[-1].workdir if contexts else None
        contexts.append(kind(path / str(number), resume_from=earlier, stop_after=stop_after))
        with pytest.raises(end):
            work(contexts[-1])
    contexts.append(LocalContext(path / "last", resume_from=contexts[-1].workdir))
    return work(contexts[-1]), contexts


def metrics(contexts: Sequence[LocalContext]) -> list[tuple[str, int, float]]:
    """All that the attempts told, in order."""
    return [metric for context in contexts for metric in context.metrics]
