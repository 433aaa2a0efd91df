"""Named pipeline configs, and how a request's overrides are laid over them."""

from enum import StrEnum
from typing import Any

from models.config import Arch, BackboneConfig
from worker.config.classify import ClassifierHeadConfig, ClassifyConfig
from worker.config.cluster import ClusterConfig
from worker.config.evaluate import EvaluateConfig
from worker.config.extract import ExtractConfig
from worker.config.pretext.jigsaw import JigsawPlusConfig, PuzzleHeadConfig
from worker.config.pretrain import PretrainConfig
from worker.config.regress import RegressConfig
from worker.config.run import PipelineConfig
from worker.config.schedule import TrainingSchedule
from worker.config.sources import HogConfig, InitialiseConfig


class Preset(StrEnum):
    paper = "paper"
    """The paper's sizes and schedules: ImageNet-like sets, days on GPUs."""
    small = "small"
    """About 10,000 images, one GPU, under an hour."""
    demo = "demo"
    """A few thousand images, two CPU cores, minutes."""


def preset_config(preset: Preset) -> PipelineConfig:
    match preset:
        case Preset.paper:
            # The probes keep every tap's features on disk: 1.28 M images would need 245 GB.
            return PipelineConfig(evaluate=EvaluateConfig(max_images=100_000))
        case Preset.small:
            return _small()
        case Preset.demo:
            return _demo()


def with_overrides(config: PipelineConfig, overrides: dict[str, Any]) -> PipelineConfig:
    """`config` with nested `overrides` laid over it; raises pydantic's ValidationError naming each unknown key.

    What belongs to another choice goes: another pretext task, or a library's network, starts from its own defaults (the
    task at the same `side`), and `minutes` alone ask for as many epochs as fit into them.
    """
    return PipelineConfig.model_validate(_merged(config.model_dump(mode="json"), overrides))


def _merged(base: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    merged = _that_still_holds(base, overrides)
    for key, value in overrides.items():
        below = base.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _that_still_holds(base: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    if "task" in base and overrides.get("task", base["task"]) != base["task"]:
        return {"side": base["side"]}
    if "arch" in base and ":" in str(overrides.get("arch")):
        return {}
    if "epochs" in base and overrides.get("minutes") is not None and "epochs" not in overrides:
        return {**base, "epochs": "auto"}
    return dict(base)


def _small() -> PipelineConfig:
    """Measured on 8,489 photographs of 160 px (docs/results): what a GPU trains in minutes, for longer."""
    student = BackboneConfig(arch=Arch.alexnet, norm="batch", conv1_stride=2)
    schedule = TrainingSchedule(epochs=100, batch=128, lr=0.05, nesterov=True, shape="cosine", warmup=0.03)
    return PipelineConfig(
        initialise=InitialiseConfig(backbone=student, crop=128),
        pretrain=PretrainConfig(
            backbone=BackboneConfig(arch=Arch.vgg16, norm="batch"),
            pretext=JigsawPlusConfig(
                side=160,
                crop=144,
                tile=38,
                jitter=9,
                channel_jitter=1,
                random_crop=True,
                permutations=300,
                min_hamming=5,
                head=PuzzleHeadConfig(fc6=512, fc7=2048, dropout=0.1, norm="batch"),
            ),
            schedule=schedule,
        ),
        hog=HogConfig(side=160, sample=200_000),
        extract=ExtractConfig(side=160, crop=144),
        cluster=ClusterConfig(k=100, l2_normalise=True),
        classify=ClassifyConfig(
            backbone=student,
            head=ClassifierHeadConfig(width=1024),
            side=146,
            crop=128,
            min_scale=0.5,
            grey=0.2,
            schedule=schedule,
        ),
        regress=RegressConfig(backbone=student, side=146, crop=128, min_scale=0.5, schedule=schedule),
        evaluate=EvaluateConfig(seeds=(0, 1, 2)),
    )


def _demo() -> PipelineConfig:
    return PipelineConfig(
        pretrain=PretrainConfig(
            backbone=BackboneConfig(arch=Arch.vgg16, width=0.25, norm="batch"),
            pretext=JigsawPlusConfig(
                side=112,
                crop=96,
                tile=26,
                jitter=5,
                channel_jitter=1,
                random_crop=True,
                permutations=100,
                min_hamming=5,
                head=PuzzleHeadConfig(fc6=256, fc7=512, dropout=0.1, norm="batch"),
            ),
            schedule=TrainingSchedule(minutes=3.5, batch=64, lr=0.02, shape="cosine", warmup=0.02),
        ),
        hog=HogConfig(side=160, words=300, sample=50_000),
        extract=ExtractConfig(side=112, crop=96),
        cluster=ClusterConfig(k="auto", l2_normalise=True),
        classify=ClassifyConfig(
            backbone=BackboneConfig(arch=Arch.alexnet_torchvision),
            head=ClassifierHeadConfig(dropout=0.1),
            side=160,
            crop=144,
            schedule=TrainingSchedule(minutes=3.5, batch=64, lr=0.02, shape="cosine", warmup=0.02),
        ),
        regress=RegressConfig(
            backbone=BackboneConfig(arch=Arch.alexnet_torchvision),
            side=160,
            crop=144,
            schedule=TrainingSchedule(minutes=3.5, batch=64, lr=0.02, shape="cosine", warmup=0.02),
        ),
        evaluate=EvaluateConfig(max_dims=2304, probe_epochs=30),
    )
