"""Names people give to datasets, runs, weights and labels; they work wherever ids do."""

import uuid
from typing import Annotated

from pydantic import AfterValidator, Field


def as_id(ref: str) -> uuid.UUID | None:
    """The id that `ref` spells, or None where it is a name."""
    try:
        return uuid.UUID(ref)
    except ValueError:
        return None


def _not_an_id(name: str) -> str:
    if as_id(name) is not None:
        raise ValueError("a name must not look like an id")
    return name


Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="letters, digits, dot, dash and underscore",
    ),
    AfterValidator(_not_an_id),
]
