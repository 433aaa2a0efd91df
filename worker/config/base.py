"""What every stage's config shares.

Nothing in this package imports torch: the API's request models are these classes.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Auto = Literal["auto"]


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("every seed may be named once: the same seed gives the same number again")
    return seeds


Seeds = Annotated[
    tuple[int, ...], AfterValidator(_distinct), Field(min_length=1, json_schema_extra={"uniqueItems": True})
]
"""Of trainings that are averaged: repeated ones would make their spread look smaller than it is."""


class Config(BaseModel):
    """A frozen config that refuses unknown keys by name."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class DatasetFacts(Config):
    """What an ingested dataset tells; `"auto"` values are resolved from it."""

    image_count: int
    side: int
    """Side of the stored square images, pixels."""
    class_count: int = 0
    """Distinct labels; 0 where the dataset has none."""


class StageConfig(Config):
    """A config of one stage."""

    def resolved(self, facts: DatasetFacts) -> "StageConfig":
        """A copy in which every `"auto"` that depends only on the dataset is replaced by its value."""
        return self
