from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from worker.config.base import Auto
from worker.config.pretext.base import PretextBase
from worker.config.pretext.jigsaw import PuzzleHeadConfig


class ContextConfig(PretextBase):
    """In which of eight directions does the second patch lie? (Doersch et al., ICCV 2015; SPEC 7.2 and section 10)"""

    task: Literal["context"] = "context"
    crop: Annotated[int, Field(ge=32)] | Auto = Field(
        "auto", description="square of whole images that later stages look at; patches lie anywhere. auto: 227 of 256"
    )
    patch: Annotated[int, Field(ge=12)] | Auto = Field(
        "auto", description="pixels; auto: 80 of 256, so that pairs have room to move (published: 96 of about 520)"
    )
    gap: Annotated[int, Field(ge=0)] | Auto = Field("auto", description="between patches; auto: half a patch")
    jitter: Annotated[int, Field(ge=0)] | Auto = Field(
        "auto", description="each patch is moved by -jitter..jitter in y and x; auto: 7 of a patch of 96"
    )
    pairs_per_image: int = Field(1, ge=1, le=16)
    colour: Literal["drop", "projection", "keep"] = Field(
        "drop",
        description="guard against chromatic aberration. drop: one channel stays, the others become noise; projection: "
        "the green-magenta axis is removed; keep: none",
    )
    coarse: float = Field(1 / 3, ge=0, le=1, description="share of the patches that is scaled down and up again")
    coarsest: Annotated[int, Field(ge=2)] | Auto = Field(
        "auto", description="side down to which those are scaled, at most; auto: 10 of a patch of 96"
    )
    head: PuzzleHeadConfig = PuzzleHeadConfig()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if isinstance(self.patch, int) and isinstance(self.coarsest, int) and self.coarsest > self.patch:
            raise ValueError("coarsest must not exceed patch")
        sizes = (self.side, self.patch, self.gap, self.jitter)
        if all(isinstance(size, int) for size in sizes):
            side, patch, gap, jitter = (int(size) for size in sizes)
            if 2 * patch + gap + 2 * jitter > side:
                raise ValueError(f"two patches, the gap and twice the jitter must fit into {side} px")
        return self

    def resolved(self, store_side: int) -> Self:
        side = store_side if self.side == "auto" else self.side
        patch = max(12, side * 80 // 256) if self.patch == "auto" else self.patch
        sizes = {
            "patch": patch,
            "gap": patch // 2 if self.gap == "auto" else self.gap,
            "jitter": round(patch * 7 / 96) if self.jitter == "auto" else self.jitter,
            "coarsest": max(2, round(patch * 10 / 96)) if self.coarsest == "auto" else self.coarsest,
        }
        sized = super().resolved(store_side)
        return type(self).model_validate(sized.model_dump() | sizes)
