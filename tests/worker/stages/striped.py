"""Small images whose stripes turn with the place, so that puzzles of them can be solved and learnt in seconds."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.config import Arch, BackboneConfig
from worker.config.pretext.jigsaw import JigsawPlusConfig, PuzzleHeadConfig
from worker.config.pretrain import PretrainConfig
from worker.config.schedule import TrainingSchedule
from worker.data.store import write_store


def striped_images(count: int, side: int) -> NDArray[np.uint8]:
    """uint8 (count, side, side, 3): an angle for each of the nine cells, a colour and a phase for each image."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    angle = (3 * (y * 3 // side) + x * 3 // side) * np.pi / 9
    phase = generator.uniform(0, 2 * np.pi, (count, 1, 1))
    stripes = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 1.5 + phase)
    colour = generator.uniform(0.5, 1, (count, 1, 1, 3))
    noise = generator.normal(0, 8, (count, side, side, 3))
    return np.clip(128 + 100 * stripes[..., None] * colour + noise, 0, 255).astype(np.uint8)


def striped_store(path: Path, count: int, side: int) -> Path:
    paths = [f"{index:04}.png" for index in range(count)]
    write_store(path, striped_images(count, side), paths, [None] * count)
    return path


def puzzle_config(**schedule: Any) -> PretrainConfig:  # noqa: ANN401
    """Eight permutations of 10 px tiles, the narrowest network, with batch norm and dropout."""
    return PretrainConfig(
        backbone=BackboneConfig(arch=Arch.vgg16, width=0.125, norm="batch"),
        pretext=JigsawPlusConfig(
            side=48,
            crop=36,
            tile=10,
            jitter=1,
            channel_jitter=1,
            random_crop=True,
            permutations=8,
            min_hamming=5,
            head=PuzzleHeadConfig(fc6=16, fc7=32, dropout=0.3, norm="batch"),
        ),
        schedule=TrainingSchedule(**{"epochs": 3, "batch": 6, "lr": 0.05, "precision": "fp32", **schedule}),
    )


def with_pretext(config: PretrainConfig, **changes: Any) -> PretrainConfig:  # noqa: ANN401
    """The config with other settings of its puzzles; those of `head` may be given by name."""
    head = {key: changes.pop(key) for key in list(changes) if key in PuzzleHeadConfig.model_fields}
    assert isinstance(config.pretext, JigsawPlusConfig)
    changes["head"] = config.pretext.head.model_copy(update=head)
    return config.model_copy(update={"pretext": config.pretext.model_copy(update=changes)})


def weights(checkpoint: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint, flat."""
    parts = torch.load(checkpoint / "model.pt", weights_only=True)
    return {f"{part}.{key}": value for part, tensors in parts.items() for key, value in tensors.items()}


def same_weights(one: Path, other: Path) -> bool:
    """Bit for bit."""
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
