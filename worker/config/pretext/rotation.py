from typing import Literal

from pydantic import Field

from worker.config.pretext.base import PretextBase


class RotationConfig(PretextBase):
    """By which quarter turn was the image rotated? (Gidaris et al., ICLR 2018; beyond the paper)"""

    task: Literal["rotation"] = "rotation"
    flip: bool = True
    all_turns: bool = Field(True, description="show each image in all four turns, as its authors found best")
    width: int = Field(1024, ge=8, description="of fc6 and fc7")
    dropout: float = Field(0.1, ge=0, lt=1)
