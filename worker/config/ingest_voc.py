from pydantic import Field

from worker.config.base import StageConfig


class IngestVocConfig(StageConfig):
    """Read a folder in PASCAL VOC's layout (a VOCdevkit, or one VOC20xx): boxes, masks, image sets."""

    max_pixels: int = Field(200_000_000, gt=0, description="a larger image is skipped and listed, never decoded")
