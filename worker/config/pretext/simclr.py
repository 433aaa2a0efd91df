from typing import ClassVar, Literal

from pydantic import Field

from worker.config.pretext.base import PretextBase


class SimclrConfig(PretextBase):
    """Which of all other views is of the same image? (Chen et al., ICML 2020; beyond the paper)

    Defaults are its authors' for ImageNet. A larger `schedule.batch` brings more views to be told apart; a training's
    loss at chance is ln(2 batch - 1), so losses of different batches (held-out images too) don't compare.
    """

    task: Literal["simclr"] = "simclr"
    fewest_images: ClassVar[int] = 2

    flip: bool = True
    min_area: float = Field(0.08, gt=0, le=1, description="smallest share of the image that a view shows")
    colour: float = Field(1.0, ge=0, le=1, description="strength of the colour jitter; 0.5 suits small images")
    colour_share: float = Field(0.8, ge=0, le=1, description="share of views whose colours are changed")
    grey: float = Field(0.2, ge=0, le=1, description="share of views in grey")
    blur: float = Field(0.5, ge=0, le=1, description="share of views that are blurred; 0 suits small images")
    temperature: float = Field(0.1, gt=0, description="0.1 for long trainings with large batches, up to 0.5 else")
    width: int = Field(2048, ge=8, description="of the projection's hidden layer")
    outputs: int = Field(128, ge=2, description="of the projection, in which views are compared")
