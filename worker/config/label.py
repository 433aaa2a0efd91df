from pydantic import Field

from worker.config.base import StageConfig


class LabelConfig(StageConfig):
    """Nearest centre for every image (paper section 3): its pseudo-label, with the distance."""

    chunk: int = Field(65536, ge=1, description="images compared at a time; bounds the memory")


class ImportLabelsConfig(StageConfig):
    """Pseudo-labels from the user's own file: CSV or Parquet with the columns `path` and `label`."""

    allow_missing: bool = Field(False, description="images without a label are left out of training instead of refused")
