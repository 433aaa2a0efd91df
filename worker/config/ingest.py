from typing import Literal, Self

from pydantic import Field, model_validator

from worker.config.base import StageConfig


class IngestConfig(StageConfig):
    """Decode, orient, resize and centre-crop every image once into the image store."""

    side: int = Field(256, ge=32, le=1024, description="stored squares' side, pixels: shorter side resized, centre cut")
    labels: Literal["auto", "none", "folders", "csv"] = Field(
        "auto",
        description="for evaluation only. folders: first folder below the root; csv: `labels_csv`; "
        "auto: folders where at least two folders hold all images, else none",
    )
    labels_csv: str | None = Field(
        None, description="path below the source; header `path,label`; tab-separated where it ends in .tsv"
    )
    label_column: str = Field("label", min_length=1, description="of `labels_csv`")
    max_pixels: int = Field(200_000_000, gt=0, description="a larger image is skipped and listed, never decoded")
    max_files: int = Field(10_000_000, gt=0, description="archive members at most")
    max_bytes: int = Field(1 << 40, gt=0, description="unpacked archive bytes at most")
    max_ratio: float = Field(200.0, gt=1, description="unpacked to packed bytes at most, for an archive")
    processes: int | Literal["auto"] = Field("auto", description="decoding processes; auto: one per core")

    @model_validator(mode="after")
    def _csv_named(self) -> Self:
        if (self.labels == "csv") != (self.labels_csv is not None):
            raise ValueError("labels 'csv' and `labels_csv` go together")
        return self
