from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from worker.config.base import Auto
from worker.config.pretext.base import PretextBase

Filter = Literal["box", "bilinear", "bicubic", "lanczos"]


class CountingConfig(PretextBase):
    """Do the counts of the four tiles add up to those of the whole image? (Noroozi et al., ICCV 2017; SPEC section 10)

    Margin, number of counts and tiles are the paper's; its share of grey images and its drawn filters are known at
    second hand; mirroring is our choice. Learns at a `schedule.lr` of about 1e-3 (SGD) or 1e-4 (Adam): larger steps
    tend to end at counts of 0, where the loss is the margin.
    """

    task: Literal["counting"] = "counting"
    fewest_images: ClassVar[int] = 2

    crop: Annotated[int, Field(ge=32, multiple_of=2)] | Auto = Field(
        "auto", description="square that is cut into 2x2 tiles and halved; auto: 228 of 256, scaled"
    )
    flip: bool = True
    grey: float = Field(0.67, ge=0, le=1, description="share of images seen in grey, tiles and half alike")
    filters: tuple[Filter, ...] = Field(
        ("box", "bilinear", "bicubic", "lanczos"),
        min_length=1,
        description="an image is halved by one of these, drawn, so that no filter's trace gives the half away",
    )
    margin: float = Field(10.0, gt=0, description="squared distance that another image's counts are pushed away to")
    counts: int = Field(1000, ge=2, description="outputs, each counting one kind of thing")
    width: int = Field(4096, ge=8, description="of fc6 and fc7")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if isinstance(self.side, int) and isinstance(self.crop, int) and self.crop > self.side:
            raise ValueError("crop must not exceed side")
        return self

    def resolved(self, store_side: int) -> Self:
        side = store_side if self.side == "auto" else self.side
        crop = 2 * round(side * 114 / 256) if self.crop == "auto" else self.crop
        return type(self).model_validate(self.model_dump() | {"side": side, "crop": crop})
