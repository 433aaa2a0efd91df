from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from worker.config.base import Auto, Config
from worker.config.pretext.base import PretextBase


class PuzzleHeadConfig(Config):
    """What sits on the nine tile embeddings (SPEC 3.4)."""

    fc6: int = Field(1024, ge=8, description="per tile, shared")
    fc7: int = Field(4096, ge=8, description="on the nine concatenated fc6")
    dropout: float = Field(0.5, ge=0, lt=1)
    norm: Literal["none", "batch"] = "none"


class PuzzleConfig(PretextBase):
    """How puzzles are cut, laid and told (SPEC section 3); the defaults are those of Jigsaw++."""

    fewest_images: ClassVar[int] = 2

    crop: Annotated[int, Field(ge=36)] | Auto = Field(
        "auto", description="square that is cut into 3x3 cells; auto: 255 of 256, scaled"
    )
    random_crop: bool = Field(False, description="where the crop lies: at random, or (paper) in the centre")
    min_scale: float = Field(
        1.0,
        gt=0,
        le=1,
        description="crops show at least this share of the crop's side, enlarged; the paper's all of it",
    )
    flip: bool = Field(False, description="mirror half of the images; the paper does not")
    tile: Annotated[int, Field(ge=8)] | Auto = Field("auto", description="pixels; auto: 64 of an 85 px cell, scaled")
    jitter: Annotated[int, Field(ge=0)] | Auto = Field(
        "auto", description="tile offset within its cell, 0..jitter; auto: 18 of 85, scaled"
    )
    channel_jitter: Annotated[int, Field(ge=0)] | Auto = Field(
        "auto", description="further offset of each colour channel; auto: 2 of 85"
    )
    permutations: int = Field(701, ge=2, le=5000)
    min_hamming: int = Field(3, ge=2, le=9, description="must exceed `occluders`, else puzzles are ambiguous")
    occluders: int = Field(2, ge=0, le=4, description="tiles taken from another image: 0..occluders, uniform")
    grey: float = Field(0.7, ge=0, le=1, description="share of puzzles seen in grey")
    projection: float = Field(0.0, ge=0, le=1, description="share seen through the green-magenta colour projection")
    occluder_colour: Literal["shared", "independent"] = Field(
        "shared", description="does the occluding image share the puzzle's grey/projection decision?"
    )
    tile_std: float = Field(1.0, gt=0, description="standard deviation of a normalised tile; the release uses 50")
    head: PuzzleHeadConfig = PuzzleHeadConfig()
    puzzles_per_image: int = Field(
        1, ge=1, le=16, description="permutations the head sees per encoded image: the trunk is spent once"
    )

    @model_validator(mode="after")
    def _solvable(self) -> Self:
        if self.min_hamming <= self.occluders:
            raise ValueError(f"min_hamming {self.min_hamming} must exceed occluders {self.occluders}")
        if self.grey + self.projection > 1:
            raise ValueError("grey and projection are shares of one whole")
        sizes = (self.crop, self.tile, self.jitter, self.channel_jitter)
        if all(isinstance(size, int) for size in sizes):
            crop, tile, jitter, channel_jitter = (int(size) for size in sizes)
            if tile + jitter + channel_jitter > crop // 3:
                raise ValueError(f"tile + jitter + channel_jitter must fit into a cell of {crop // 3} px")
        if isinstance(self.side, int) and isinstance(self.crop, int) and self.crop > self.side:
            raise ValueError("crop must not exceed side")
        return self

    def resolved(self, store_side: int) -> Self:
        side = store_side if self.side == "auto" else self.side
        crop = side // 3 * 3 if self.crop == "auto" else self.crop
        cell = crop // 3
        channel_jitter = max(1, round(cell * 2 / 85)) if self.channel_jitter == "auto" else self.channel_jitter
        tile = round(cell * 64 / 85) if self.tile == "auto" else self.tile
        jitter = min(round(cell * 18 / 85), cell - tile - channel_jitter) if self.jitter == "auto" else self.jitter
        sizes = {"side": side, "crop": crop, "tile": tile, "jitter": jitter, "channel_jitter": channel_jitter}
        return type(self).model_validate(self.model_dump() | sizes)


class JigsawPlusConfig(PuzzleConfig):
    """Jigsaw++ (paper section 3; SPEC section 3)."""

    task: Literal["jigsaw++"] = "jigsaw++"


class JigsawConfig(PuzzleConfig):
    """The original Jigsaw (Noroozi and Favaro, ECCV 2016; SPEC section 10): no occluders, in colour."""

    task: Literal["jigsaw"] = "jigsaw"
    occluders: int = Field(0, ge=0, le=0)
    grey: float = Field(0.0, ge=0, le=1, description="share of puzzles seen in grey")
