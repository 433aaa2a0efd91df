"""The pretext tasks by name, each with its config and its optimiser for one recipe."""

from typing import Any

from benchmarks.quality_recipe import Recipe
from worker.config.pretext import AnyPretext
from worker.config.pretext.bigan import BiganConfig
from worker.config.pretext.colorization import ColorizationConfig
from worker.config.pretext.context import ContextConfig
from worker.config.pretext.counting import CountingConfig
from worker.config.pretext.inpainting import InpaintingConfig
from worker.config.pretext.jigsaw import JigsawConfig, JigsawPlusConfig
from worker.config.pretext.rotation import RotationConfig
from worker.config.pretext.simclr import SimclrConfig
from worker.config.pretext.split_brain import SplitBrainConfig
from worker.config.schedule import TrainingSchedule

PRETEXTS = (
    "jigsaw",
    "jigsaw++",
    "context",
    "context-projection",
    "context-encoder",
    "colorization",
    "split-brain",
    "counting",
    "bigan",
    "rotation",
    "simclr",
)


def pretext_of(name: str, recipe: Recipe) -> AnyPretext:
    """Raises ValueError for a name that is no pretext task."""
    view: dict[str, Any] = {"side": recipe.view_side, "crop": recipe.crop}
    match name:
        case "jigsaw":
            return JigsawConfig.model_validate(_puzzles(recipe))
        case "jigsaw++":
            return JigsawPlusConfig.model_validate(_puzzles(recipe))
        case "context":
            return ContextConfig()
        case "context-projection":
            return ContextConfig(colour="projection")
        case "context-encoder":
            return InpaintingConfig.model_validate(view)
        case "colorization":
            return ColorizationConfig.model_validate(view)
        case "split-brain":
            return SplitBrainConfig.model_validate(view)
        case "counting":
            return CountingConfig(width=1024)
        case "bigan":
            return BiganConfig()
        case "rotation":
            return RotationConfig.model_validate(view)
        case "simclr":
            return SimclrConfig.model_validate(
                view | {"colour": 0.5, "blur": 0.0, "temperature": 0.2, "min_area": 0.15}
            )
    raise ValueError(f"{name!r} is no method")


def schedule_of(name: str, schedule: TrainingSchedule) -> TrainingSchedule:
    """The recipe's, but for tasks whose authors trained otherwise."""
    if name in ("context-encoder", "colorization", "split-brain"):
        return schedule.model_copy(update={"optimizer": "adam", "lr": 1e-3, "weight_decay": 1e-5})
    if name in ("context", "context-projection"):
        return schedule.model_copy(update={"optimizer": "adam", "lr": 5e-4, "weight_decay": 1e-5})
    if name == "counting":
        return schedule.model_copy(update={"optimizer": "adam", "lr": 1e-4, "weight_decay": 1e-5})
    if name == "bigan":
        return schedule.model_copy(update={"optimizer": "adam", "lr": 2e-4, "momentum": 0.5, "weight_decay": 2.5e-5})
    if name == "simclr":
        return schedule.model_copy(update={"batch": 256, "lr": 0.3, "weight_decay": 1e-4})
    return schedule


def _puzzles(recipe: Recipe) -> dict[str, Any]:
    return {
        "side": recipe.puzzle_side,
        "crop": recipe.puzzle_crop,
        "tile": recipe.tile,
        "jitter": recipe.jitter,
        "channel_jitter": 1,
        "random_crop": True,
        "flip": recipe.puzzle_flip,
        "min_scale": recipe.puzzle_min_scale,
        "permutations": recipe.permutations,
        "min_hamming": 5,
        "head": recipe.puzzle_head,
        "puzzles_per_image": recipe.puzzles_per_image,
    }
