"""What the supervisor and its child process say to each other: one JSON document a line, both ways.

The first line on the child's stdin is the `Task`; later lines are orders (`stop`). The end of stdin means that the
supervisor is gone. The child's events go to a descriptor of their own, so that prints never get between them.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from worker.config.pipeline import StageName
from worker.config.reasons import Reason
from worker.stages.contract import Level, Produced

STOP = b"stop\n"

EXIT_STOPPED = 10
EXIT_FAILED = 11


def storable(value: Any) -> Any:  # noqa: ANN401 (any JSON value)
    """`value` without what Postgres can't store: NUL characters and lone surrogates (undecodable file names)."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "")
    if isinstance(value, dict):
        return {storable(key): storable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [storable(entry) for entry in value]
    return value


def _storable_output(produced: Produced) -> Produced:
    return produced.model_copy(update={"summary": storable(produced.summary)})


Text = Annotated[str, BeforeValidator(storable)]
Output = Annotated[Produced, AfterValidator(_storable_output)]


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Task(Message):
    """Everything a child needs; all paths are absolute."""

    stage: StageName
    config: dict[str, Any]
    inputs: dict[str, Path]
    workdir: Path
    resume_from: Path | None
    device: str
    """As the stage shall name it: `cpu`, or `cuda` where CUDA_VISIBLE_DEVICES already chose the device."""


class Progress(Message):
    type: Literal["progress"] = "progress"
    done: int
    total: int
    unit: Text


class MetricPoint(Message):
    type: Literal["metric"] = "metric"
    name: Text
    step: int
    value: Annotated[float, Field(allow_inf_nan=False)]
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))


class LogEntry(Message):
    type: Literal["log"] = "log"
    level: Level
    message: Text
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))


class Resolved(Message):
    """The stage's config with no `"auto"` left in it."""

    type: Literal["resolved"] = "resolved"
    config: dict[str, Any]


class Finished(Message):
    """The stage returned: role -> what it made."""

    type: Literal["finished"] = "finished"
    outputs: dict[str, Output]


class Failed(Message):
    type: Literal["failed"] = "failed"
    reason: Reason
    message: Text


class Stopped(Message):
    """The stage saved its state and left, as it was asked to."""

    type: Literal["stopped"] = "stopped"


Event = Annotated[
    Progress | MetricPoint | LogEntry | Resolved | Finished | Failed | Stopped, Field(discriminator="type")
]
Ending = Finished | Failed | Stopped

EVENT: TypeAdapter[Event] = TypeAdapter(Event)
