"""What the registry knows of a checkpoint's network, its files unopened."""

from sqlalchemy.orm import Session

from app.artifacts.tables import Artifact
from app.runs.tables import Stage
from models.config import BackboneConfig


def backbone_of(session: Session, checkpoint: Artifact) -> BackboneConfig | None:
    """By the config of the stage that made it; None where that names no network."""
    stage = session.get(Stage, checkpoint.stage_id) if checkpoint.stage_id else None
    told = stage.config.get("backbone") if stage else None
    return BackboneConfig.model_validate(told) if told else None
