"""What the service answers, as far as a client relies on it; fields it does not know yet are kept."""

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

T = TypeVar("T")

TERMINAL = frozenset({"succeeded", "failed", "cancelled"})


class Model(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class Page(Model, Generic[T]):
    items: list[T]
    next_cursor: str | None = None


class Dataset(Model):
    id: str
    name: str
    run: str
    """Its registration, a run like any other."""
    state: str
    reason: str | None = None
    detail: str | None = None


class Progress(Model):
    done: int = 0
    total: int = 0
    unit: str | None = None


class Stage(Model):
    name: str
    state: str
    reason: str | None = None
    detail: str | None = None
    progress: Progress = Progress()
    eta_seconds: float | None = None
    attempt_no: int = 0


class Artifact(Model):
    id: str
    kind: str
    sha256: str
    bytes: int
    role: str | None = None


class Checkpoint(Artifact):
    name: str | None = None
    run: str | None = None
    run_name: str | None = None
    summary: dict[str, Any] = {}
    created_at: str = ""


class Run(Model):
    id: str
    state: str
    name: str | None = None
    reason: str | None = None
    detail: str | None = None
    stages: list[Stage] = []
    artifacts: list[Artifact] = []

    @property
    def finished(self) -> bool:
        return self.state in TERMINAL

    def artifact(self, kind: str) -> Artifact:
        """The run's newest artifact of a kind; KeyError when it has none."""
        for artifact in reversed(self.artifacts):
            if artifact.kind == kind:
                return artifact
        raise KeyError(f"run {self.id} has no {kind}")


class Evaluation(Model):
    id: str
    checkpoint: str
    dataset: str | None = None
    sheet: dict[str, Any] = {}
    """Protocol, cells with their intervals, config, deviations."""
    links: dict[str, str] = {}


class Upload(Model):
    id: str
    sha256: str
    bytes: int


class Event(Model):
    seq: int
    type: str
    data: dict[str, Any] = {}


def why(run: Run) -> str:
    """In one line: which stage, for which reason, with the last line of its detail (the first may be a traceback's)."""
    stage = next((stage for stage in run.stages if stage.state == "failed"), None)
    reason, detail = (stage.reason, stage.detail) if stage else (run.reason, run.detail)
    lines = [line.strip() for line in (detail or "").splitlines() if line.strip()]
    parts = (f"stage {stage.name}" if stage else None, reason, lines[-1] if lines else None)
    return ": ".join(part for part in parts if part) or "no reason given"
