from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from worker.config.base import Auto
from worker.config.pretext.base import PretextBase


class BiganConfig(PretextBase):
    """Tell an image with its code from a code with the image made of it (Donahue et al., ICLR 2017; SPEC section 10).

    Its authors train with `schedule` {optimizer: adam, lr: 2e-4, momentum: 0.5, weight_decay: 2.5e-5, batch: 128}.
    """

    task: Literal["bigan"] = "bigan"

    crop: Annotated[int, Field(ge=32)] | Auto = Field("auto", description="what is encoded; auto: 112 of 128, scaled")
    made: Literal[16, 32, 64] | Auto = Field(
        "auto", description="side of the images that are generated and judged; auto: the largest that fits into `crop`"
    )
    flip: bool = True
    code: int = Field(200, ge=2, description="numbers in a code, uniform in -1..1")
    width: int = Field(1024, ge=8, description="of the encoder's and the discriminator's hidden layers")
    channels: int = Field(64, ge=4, description="of the generator's and the discriminator's largest maps")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if isinstance(self.crop, int) and isinstance(self.made, int) and self.made > self.crop:
            raise ValueError("made must not exceed crop")
        return self

    def resolved(self, store_side: int) -> Self:
        side = store_side if self.side == "auto" else self.side
        crop = round(side * 112 / 128) if self.crop == "auto" else self.crop
        made = (64 if crop >= 64 else 32) if self.made == "auto" else self.made
        return type(self).model_validate(self.model_dump() | {"side": side, "crop": crop, "made": made})
