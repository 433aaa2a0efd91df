from typing import Literal

from pydantic import Field

from worker.config.pretext.colour import ColourConfig


class ColorizationConfig(ColourConfig):
    """Which colour has each place of the grey image? (Zhang et al., ECCV 2016; SPEC section 10)"""

    task: Literal["colorization"] = "colorization"
    uniform: float = Field(
        0.5,
        ge=0.05,
        le=1,
        description="lambda: 1 weights all colours alike, near 0 rare ones by the inverse of their share",
    )
    finer: Literal[1, 2, 4] = Field(2, description="places told for each one of conv5's map, in y and in x")
