from typing import Literal

from pydantic import Field

from worker.config.pretext.colour import ColourConfig


class SplitBrainConfig(ColourConfig):
    """One half of the network tells colour from lightness, the other one lightness from colour (Zhang et al., CVPR
    2017; SPEC section 10)"""

    task: Literal["split-brain"] = "split-brain"
    lightness_bins: int = Field(50, ge=2, le=256)
    width: int = Field(256, ge=8, le=4096, description="of each half's fc6 and fc7, which are convolutions here")
