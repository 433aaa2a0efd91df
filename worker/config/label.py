from pydantic import Field

from worker.config.base import StageConfig


class LabelConfig(StageConfig):
    """Nearest centre for every image (paper section 3): its pseudo-label, with the distance."""

    chunk: int = Field(65536, ge=1, description="images compared at a time; bounds the memory")
    nearest: int = Field(
        1, ge=1, le=100, description="above 1, the shares of this many nearest clusters are written too: soft labels"
    )
    temperature: float = Field(
        0.1, gt=0, description="of soft labels: a centre this share farther (squared) than the nearest weighs 1/e of it"
    )


class ImportLabelsConfig(StageConfig):
    """Pseudo-labels from the user's own file: CSV or Parquet with the columns `path` and `label`."""

    allow_missing: bool = Field(False, description="images without a label are left out of training instead of refused")
