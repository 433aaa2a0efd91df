from typing import Annotated, Self

from pydantic import Field

from worker.config.base import Auto
from worker.config.pretext.base import PretextBase


class ColourConfig(PretextBase):
    """What the tasks about colour share."""

    crop: Annotated[int, Field(ge=32)] | Auto = Field("auto", description="auto: 180 of 256")
    flip: bool = True
    width: int = Field(512, ge=8, le=4096, description="of fc6 and fc7, which are convolutions here")

    def resolved(self, store_side: int) -> Self:
        side = store_side if self.side == "auto" else self.side
        crop = max(32, round(side * 180 / 256)) if self.crop == "auto" else self.crop
        return type(self).model_validate(self.model_dump() | {"side": side, "crop": crop})
