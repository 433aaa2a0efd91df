from typing import Annotated, ClassVar, Self

from pydantic import Field

from worker.config.base import Auto, Config


class PretextBase(Config):
    """What every pretext task's config shares; a task adds `task: Literal["its name"]` and its own settings."""

    side: Annotated[int, Field(ge=32)] | Auto = Field(
        "auto", description="images are resized to this square first; auto: the store's side"
    )
    crop: Annotated[int, Field(ge=32)] | Auto = Field("auto", description="square the task looks at; auto: 227 of 256")

    fewest_images: ClassVar[int] = 1
    """Images that a batch must hold: 2 where an image is told from another one."""

    def resolved(self, store_side: int) -> Self:
        """A copy with no `"auto"` left, for images of a store of that side. Raises pydantic's ValidationError."""
        side = store_side if self.side == "auto" else self.side
        crop = round(side * 227 / 256) if self.crop == "auto" else self.crop
        return type(self).model_validate(self.model_dump() | {"side": side, "crop": crop})
