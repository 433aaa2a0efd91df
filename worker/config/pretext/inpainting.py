from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from worker.config.base import Auto
from worker.config.pretext.base import PretextBase


class InpaintingConfig(PretextBase):
    """What is missing there? The Context Encoder, L2 loss alone (Pathak et al., CVPR 2016; SPEC section 10)"""

    task: Literal["context-encoder"] = "context-encoder"
    flip: bool = True
    mask: Literal["blocks", "centre"] = Field(
        "blocks", description="what is hidden: squares at random places, which may overlap, or one in the middle"
    )
    blocks: int = Field(5, ge=1, le=32, description="squares of an image, for `blocks`")
    smallest: Annotated[int, Field(ge=1)] | Auto = Field(
        "auto", description="side of a square, pixels; auto: 32 of a crop of 227"
    )
    largest: Annotated[int, Field(ge=1)] | Auto = Field(
        "auto", description="its largest side; auto: 64 of a crop of 227"
    )
    hole: Annotated[int, Field(ge=1)] | Auto = Field(
        "auto", description="side of the `centre` square, pixels; auto: half the crop"
    )
    width: int = Field(128, ge=16, le=1024, description="channels of the decoder's first up-convolution; then halved")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        sizes = (self.crop, self.smallest, self.largest, self.hole)
        if all(isinstance(size, int) for size in sizes):
            crop, smallest, largest, hole = (int(size) for size in sizes)
            if not smallest <= largest < crop or hole >= crop:
                raise ValueError("smallest <= largest < crop and hole < crop must hold")
        return self

    def resolved(self, store_side: int) -> Self:
        sized = super().resolved(store_side)
        crop = int(sized.crop)
        sizes = {
            "smallest": max(1, round(crop * 32 / 227)) if self.smallest == "auto" else self.smallest,
            "largest": max(1, round(crop * 64 / 227)) if self.largest == "auto" else self.largest,
            "hole": crop // 2 if self.hole == "auto" else self.hole,
        }
        return type(self).model_validate(sized.model_dump() | sizes)
