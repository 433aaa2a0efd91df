"""What the API says about what happens in a run."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class EventOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    seq: int
    type: str
    data: dict[str, Any]
    at: datetime


class LogOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    stage: str
    attempt_no: int
    at: datetime
    level: str
    message: str


class Series(BaseModel):
    """A curve."""

    stage: str
    name: str
    points: list[tuple[int, float | None]]
    """`[step, value]`, by step; null where the value was not finite."""
    total: int
    """How many points there are; `points` keeps the extremes of equal parts where there are more than asked for."""


class Metrics(BaseModel):
    series: list[Series]
