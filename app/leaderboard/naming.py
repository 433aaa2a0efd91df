"""What a checkpoint is called on the leaderboard: the paper's name of the method that its lineage shows."""

import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.artifacts.tables import Artifact
from app.evaluations.lookup import judged_checkpoints
from app.leaderboard.ancestry import Ancestor, Ancestry, ancestry
from models.config import Arch
from worker.config.pipeline import StageName

PRETEXTS = {
    "jigsaw": "Jigsaw",
    "jigsaw++": "Jigsaw++",
    "context": "Context",
    "context-encoder": "ContextEncoder",
    "colorization": "Colorization",
    "split-brain": "Split-Brain",
    "counting": "Counting",
    "bigan": "BiGAN",
    "rotation": "Rotation",
    "simclr": "SimCLR",
}
"""Pretext task -> as the paper writes it; another task is called by its own name."""

CONTEXT_COLOURS = {"drop": "-ColorDrop", "projection": "-ColorProjection", "keep": ""}

RANDOM = "Random"
UNKNOWN = "unknown"


def method_of(checkpoint: uuid.UUID, ancestry: Ancestry) -> str:
    """`CC+vgg-Jigsaw++`, `CC+HOG`, `[37]+vgg-Jigsaw++`, `Jigsaw++`, `Random`, `Supervised`, `imported`, ..."""
    made = ancestry[checkpoint]
    match made.stage:
        case StageName.pretrain:
            return _network(made) + _pretext(made.config)
        case StageName.initialise:
            return _network(made) + RANDOM + (" (calibrated)" if made.config["calibrate"] else "")
        case StageName.import_weights:
            return _network(made) + "imported"
        case StageName.regress:
            return f"[37]+{method_of(made.inputs['teacher'], ancestry)}"
        case StageName.classify:
            return _by_labels(made.inputs["labels"], ancestry)
        case _:
            return UNKNOWN


def judged_methods(session: Session, first: Artifact, second: Artifact) -> tuple[str, str]:
    """What the checkpoints of two evaluations are called."""
    by_stage = judged_checkpoints(session, [made.stage_id for made in (first, second) if made.stage_id is not None])
    lines = ancestry(session, set(by_stage.values()))
    one, other = (method_of(by_stage[made.stage_id], lines) for made in (first, second) if made.stage_id is not None)
    return one, other


def is_untrained(checkpoint: uuid.UUID, ancestry: Ancestry) -> bool:
    return ancestry[checkpoint].stage == StageName.initialise


def _by_labels(labels: uuid.UUID, ancestry: Ancestry) -> str:
    made = ancestry[labels]
    match made.stage:
        case StageName.class_labels:
            return "Supervised"
        case StageName.label:
            return "CC+" + _by_features(made.inputs["features"], ancestry)
        case _:
            return "CC+imported labels"


def _by_features(features: uuid.UUID, ancestry: Ancestry) -> str:
    made = ancestry[features]
    match made.stage:
        case StageName.hog:
            return "HOG"
        case StageName.extract:
            return method_of(made.inputs["teacher"], ancestry)
        case _:
            return UNKNOWN


def _network(made: Ancestor) -> str:
    """The paper's prefix; its networks without one are AlexNets. A library's network is called by its name there."""
    arch = str(made.config["backbone"]["arch"])
    if arch == Arch.vgg16:
        return "vgg-"
    return f"{arch.partition(':')[2]}-" if ":" in arch else ""


def _pretext(config: Mapping[str, Any]) -> str:
    pretext = config["pretext"]
    task = str(pretext["task"])
    return PRETEXTS.get(task, task) + (CONTEXT_COLOURS[pretext["colour"]] if task == "context" else "")
