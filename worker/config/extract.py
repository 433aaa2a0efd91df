from typing import Annotated, Literal

from pydantic import Field

from worker.config.base import Auto, DatasetFacts, StageConfig


class ExtractConfig(StageConfig):
    """Features of whole images at one tap of the teacher, pooled, streamed to a memory map (SPEC section 4)."""

    tap: str = Field(
        "conv4",
        min_length=1,
        max_length=200,
        description="conv1 .. conv5, after ReLU; of a library's network the name of a module, whose output is taken as "
        "it is (layer3, features.12)",
    )
    side: Annotated[int, Field(ge=32)] | Auto = Field(
        "auto", description="images are resized to this square first; auto: the store's side"
    )
    crop: Annotated[int, Field(ge=32)] | Auto = Field(
        "auto", description="centre crop the network sees; auto: 224 of 256, scaled"
    )
    pool: Annotated[int, Field(ge=1, le=32)] | Auto = Field(
        "auto", description="pooled to pool x pool; auto: 5 for AlexNet, 4 for VGG16"
    )
    pooling: Literal["max", "average"] = "max"
    mirror: bool = Field(False, description="features of an image and its mirror image, averaged")
    conv1_stride: Literal[2, 4] | None = Field(None, description="AlexNet teachers: another stride than in training")
    dtype: Literal["fp16", "fp32"] = "fp16"
    precision: Literal["fp32", "bf16"] | Auto = "auto"
    batch: int = Field(128, ge=1)

    def resolved(self, facts: DatasetFacts) -> "ExtractConfig":
        side = facts.side if self.side == "auto" else self.side
        crop = round(side * 224 / 256) if self.crop == "auto" else self.crop
        return self.model_copy(update={"side": side, "crop": crop})
