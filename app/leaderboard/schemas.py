"""What the leaderboard and a comparison say."""

import uuid
from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from worker.config.scores import ProtocolName, Table


class QuotedCellOut(BaseModel):
    text: str
    """As printed, in percent; `-` where the paper has no number."""
    value: float | None
    """A share, 0..1."""
    bold: bool
    doubt: str | None
    """Why the printed number looks wrong."""


class QuotedRowOut(BaseModel):
    """A row of the paper: quoted, not measured by this service."""

    method: str
    ref: str
    """Where the paper took its numbers from; empty for its own."""
    cells: dict[str, QuotedCellOut]


class MeasuredCell(BaseModel):
    """A number of this service; there is none without the evaluation that proves it."""

    evaluation: uuid.UUID
    link: str
    protocol: ProtocolName
    metric: str
    value: float
    """A share, 0..1: mean over the seeds."""
    low: float
    high: float
    interval: str
    """How the interval was made, in words."""
    confidence: float
    n: int
    """Judged images or objects, as the protocol says."""
    seeds: int
    evaluations: int
    """How many evaluations by the same config fill this cell; the newest is shown."""
    measured_at: datetime


class MeasuredRow(BaseModel):
    """One checkpoint. One that was judged on two datasets, or by two configs of a protocol, has a row for each."""

    method: str
    """Derived from the checkpoint's lineage."""
    name: str | None
    """The checkpoint's own, or that of the run that made it."""
    checkpoint: uuid.UUID
    link: str
    dataset: str | None
    """Name of the dataset that was judged on; the digest's beginning where that is deleted."""
    cells: dict[str, MeasuredCell]
    """Column -> cell; a column that was not measured is absent."""
    differences: list[str]
    """How this differs from the paper's protocol, a sentence each: images, input, schedule."""


class Leaderboard(BaseModel):
    table: Table
    title: str
    setting: str
    """Of the paper's numbers."""
    columns: list[str]
    """The paper's, then those that only rows of ours have."""
    headings: dict[str, str]
    """Column -> as printed."""
    quoted: list[QuotedRowOut]
    measured: list[MeasuredRow]


class ComparedColumn(BaseModel):
    """The first evaluation beside the second in one column, over the same images."""

    first: float
    second: float
    """Means over the images, shares 0..1."""
    n: int
    wins: int
    """Images that the first did better."""
    losses: int
    ties: int
    difference: float
    """First minus second."""
    low: float
    high: float
    """Interval of the difference: Bonett and Price (2012)."""
    beyond: bool
    """The interval leaves out zero."""
    p: float
    test: Literal["exact McNemar", "exact sign test"]
    """McNemar's where every image is simply right or wrong; the sign test on wins and losses where seeds were averaged
    or images have graded scores. Two-sided, not corrected for the number of columns."""


class Comparison(BaseModel):
    protocol: ProtocolName
    metric: str
    images: int
    confidence: float
    first: uuid.UUID
    second: uuid.UUID
    methods: tuple[str, str]
    """What the first and the second judged checkpoint are, derived from their lineage."""
    score: str
    """Of an image, as compared here, in words; its mean need not be the evaluations' `metric`."""
    columns: dict[str, ComparedColumn]
    different_settings: dict[str, tuple[str, str]]
    """Settings of the protocol in which the two differ: name -> as JSON, the first's and the second's."""
