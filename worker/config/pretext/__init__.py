"""One config class for each pretext task; `AnyPretext` is any of them, told apart by `task`."""

from typing import Annotated

from pydantic import Field

from worker.config.pretext.bigan import BiganConfig
from worker.config.pretext.counting import CountingConfig
from worker.config.pretext.jigsaw import JigsawConfig, JigsawPlusConfig
from worker.config.pretext.rotation import RotationConfig
from worker.config.pretext.simclr import SimclrConfig

AnyPretext = Annotated[
    JigsawPlusConfig | JigsawConfig | RotationConfig | CountingConfig | BiganConfig | SimclrConfig,
    Field(discriminator="task"),
]
