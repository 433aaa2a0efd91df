from pydantic import Field

from worker.config.base import StageConfig


class IngestVocConfig(StageConfig):
    """Read a folder in PASCAL VOC's layout (a VOCdevkit, or one VOC20xx): boxes, masks, image sets, proposals."""

    max_pixels: int = Field(200_000_000, gt=0, description="a larger image is skipped and listed, never decoded")
    max_files: int = Field(10_000_000, gt=0, description="archive members at most")
    max_bytes: int = Field(1 << 40, gt=0, description="unpacked archive bytes at most")
    max_ratio: float = Field(200.0, gt=1, description="unpacked to packed bytes at most, for an archive")
    proposals: str | None = Field(
        None,
        min_length=1,
        description="a .npz file below the source with boxes that may hold an object, for detection with `given` "
        "proposals; None: the `proposals.npz` at the top, beside the VOC20xx folders or in one of them, if any",
    )
