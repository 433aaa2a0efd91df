from pydantic import Field

from models.config import Arch, BackboneConfig
from worker.config.base import DatasetFacts
from worker.config.pretext import AnyPretext
from worker.config.pretext.jigsaw import JigsawPlusConfig
from worker.config.schedule import TrainingConfig, TrainingSchedule


class PretrainConfig(TrainingConfig):
    """Train a network on a pretext task."""

    backbone: BackboneConfig = BackboneConfig(arch=Arch.vgg16)
    pretext: AnyPretext = JigsawPlusConfig()
    schedule: TrainingSchedule = TrainingSchedule(epochs=70)
    holdout: float = Field(0.0, ge=0, lt=0.5, description="share of images kept to monitor; never trained on")
    online_knn: bool = Field(
        False, description="tell now and then how many labelled images their nearest neighbours name right"
    )

    def resolved(self, facts: DatasetFacts) -> "PretrainConfig":
        return self.model_copy(update={"pretext": self.pretext.resolved(facts.side)})
