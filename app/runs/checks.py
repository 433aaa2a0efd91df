"""What a dataset's facts say about a stage's config, before any work is done."""

from typing import TypeVar

from pydantic import ValidationError

from app.artifacts.tables import Artifact
from worker.config.base import DatasetFacts, StageConfig
from worker.config.classify import ClassifyConfig
from worker.config.cluster import ClusterConfig
from worker.config.extract import ExtractConfig
from worker.config.pretrain import PretrainConfig
from worker.config.reasons import Reason
from worker.config.regress import RegressConfig
from worker.config.sources import ClassLabelsConfig, HogConfig, InitialiseConfig

C = TypeVar("C", bound=StageConfig)


class ConfigRefused(Exception):
    """The config can't work on this dataset; `path` names the setting (empty where it is the stage as such), the
    message is one human sentence."""

    def __init__(self, reason: Reason, path: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.path = path


def facts_of(store: Artifact | None, features: Artifact | None = None) -> DatasetFacts | None:
    """What the stage's inputs tell; k-means counts features, everything else images. None while nothing is known."""
    counted = features or store
    if counted is None:
        return None
    summary = store.summary if store else {}
    return DatasetFacts(
        image_count=counted.summary["count"], side=summary.get("side", 0), class_count=len(summary.get("classes", ()))
    )


def resolve(config: C, facts: DatasetFacts) -> C:
    """`config` with the dataset's values for its autos; raises ConfigRefused where it asks for what can't be."""
    try:
        resolved = config.resolved(facts)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise ConfigRefused(Reason.bad_config, path, first["msg"]) from error
    match resolved:
        case ClusterConfig():
            _check_k(resolved, facts)
        case PretrainConfig():
            _check_side("pretext.side", resolved.pretext.side, facts)
        case InitialiseConfig():
            _check_side("crop", resolved.crop, facts)
        case HogConfig() | ExtractConfig() | ClassifyConfig() | RegressConfig():
            _check_side("side", resolved.side, facts)
            _check_crop(resolved)
        case ClassLabelsConfig():
            _check_labelled(facts)
    assert isinstance(resolved, type(config))
    return resolved


def _check_k(config: ClusterConfig, facts: DatasetFacts) -> None:
    assert isinstance(config.k, int)
    trained_on = min(facts.image_count, config.sample or facts.image_count)
    if config.k > trained_on:
        raise ConfigRefused(Reason.k_too_large, "k", f"k = {config.k} clusters can't be made of {trained_on} images.")


def _check_side(path: str, side: int | str, facts: DatasetFacts) -> None:
    if isinstance(side, int) and side > facts.side:
        message = (
            f"{side} px is more than the {facts.side} px the dataset stores; register it again with a larger side."
        )
        raise ConfigRefused(Reason.images_too_small, path, message)


def _check_labelled(facts: DatasetFacts) -> None:
    if facts.class_count < 2:
        message = "Supervised training needs a dataset whose labels name two classes at least."
        raise ConfigRefused(Reason.bad_labels, "", message)


def _check_crop(config: HogConfig | ExtractConfig | ClassifyConfig | RegressConfig) -> None:
    if isinstance(config.crop, int) and isinstance(config.side, int) and config.crop > config.side:
        raise ConfigRefused(
            Reason.bad_config, "crop", f"A crop of {config.crop} px exceeds the side, {config.side} px."
        )
