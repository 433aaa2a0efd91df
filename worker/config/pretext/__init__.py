"""One config class for each pretext task; `AnyPretext` is any of them, told apart by `task`."""

from typing import Annotated

from pydantic import Field

from worker.config.pretext.jigsaw import JigsawConfig, JigsawPlusConfig
from worker.config.pretext.rotation import RotationConfig

AnyPretext = Annotated[
    JigsawPlusConfig | JigsawConfig | RotationConfig,
    Field(discriminator="task"),
]
