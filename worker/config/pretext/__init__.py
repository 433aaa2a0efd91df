"""One config class for each pretext task; `AnyPretext` is any of them, told apart by `task`."""

from typing import Annotated

from pydantic import Field

from worker.config.pretext.bigan import BiganConfig
from worker.config.pretext.colorization import ColorizationConfig
from worker.config.pretext.context import ContextConfig
from worker.config.pretext.counting import CountingConfig
from worker.config.pretext.inpainting import InpaintingConfig
from worker.config.pretext.jigsaw import JigsawConfig, JigsawPlusConfig
from worker.config.pretext.rotation import RotationConfig
from worker.config.pretext.simclr import SimclrConfig
from worker.config.pretext.split_brain import SplitBrainConfig

AnyPretext = Annotated[
    JigsawPlusConfig
    | JigsawConfig
    | ContextConfig
    | InpaintingConfig
    | ColorizationConfig
    | SplitBrainConfig
    | CountingConfig
    | BiganConfig
    | RotationConfig
    | SimclrConfig,
    Field(discriminator="task"),
]
