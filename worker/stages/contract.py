"""What a stage is: a typed, pure, seeded, resumable function `run(config, inputs, context) -> XResult`.

A stage knows no database, no queue and no HTTP. It reads the paths in its inputs, writes below `context.workdir`,
and returns what it made. Whoever calls it (the worker's child process, a notebook, a test) brings the context.
"""

from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from worker.config.base import StageConfig
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason

Level = Literal["debug", "info", "warning", "error"]


class Inputs(BaseModel):
    """Paths of the artifacts a stage reads; a field is a role named in `worker.config.pipeline`."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Produced(BaseModel):
    """One artifact a stage made: a directory of finished files below `context.workdir`."""

    kind: ArtifactKind
    path: Path
    summary: dict[str, Any] = {}
    """JSON facts shown with the artifact (counts, sizes, accuracies): small, never bulk data."""


class Result(BaseModel):
    """What a stage returns: a field per role, holding what was produced."""

    def produced(self) -> dict[str, Produced]:
        return {role: value for role in type(self).model_fields if isinstance(value := getattr(self, role), Produced)}


class Context(Protocol):
    """What a running stage may ask of whoever runs it."""

    @property
    def workdir(self) -> Path:
        """An existing directory that belongs to this attempt alone."""

    @property
    def resume_from(self) -> Path | None:
        """The workdir of the newest earlier attempt at the same stage, to be read only, or None."""

    @property
    def device(self) -> str:
        """`"cpu"`, `"cuda"` or `"cuda:N"`."""

    def progress(self, done: int, total: int, unit: str) -> None: ...

    def metric(self, name: str, step: int, value: float) -> None: ...

    def log(self, message: str, level: Level = "info") -> None: ...

    def resolved(self, config: StageConfig) -> None:
        """Report the config with no `"auto"` left in it (what the machine decided included)."""

    def should_stop(self) -> bool:
        """True once the run is cancelled or the worker drains: save the state at the batch edge and raise `Stopped`."""


class StageError(Exception):
    """The stage can't succeed as asked; `reason` is for programs, the message is one human sentence."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Stopped(Exception):
    """Raised by a stage that was asked to stop, after it saved what a later attempt needs."""
