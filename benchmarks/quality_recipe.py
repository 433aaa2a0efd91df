"""What the quality proof trains, and how: one recipe for a GPU, one for two CPU cores."""

from typing import Literal

from models.config import Arch, BackboneConfig
from worker.config.base import Config
from worker.config.classify import ClassifierHeadConfig
from worker.config.pretext.jigsaw import PuzzleHeadConfig
from worker.config.schedule import TrainingSchedule


class Recipe(Config):
    """Everything that all methods of one comparison share."""

    side: int
    """Stored images, pixels."""
    view_side: int
    """Images are resized to this before the small network's crops are cut."""
    crop: int
    """What the small network sees."""
    student: BackboneConfig
    """The small network: the students, the supervised one, and the AlexNets that learn pretext tasks."""
    big: BackboneConfig
    """The teacher that is too big to keep."""
    puzzle_side: int
    puzzle_crop: int
    tile: int
    jitter: int
    permutations: int
    puzzle_head: PuzzleHeadConfig
    puzzles_per_image: int = 1
    puzzle_flip: bool = True
    """Half of the puzzles are mirrored: ten thousand images are soon known by heart (our choice)."""
    puzzle_min_scale: float = 1.0
    student_head: ClassifierHeadConfig
    min_scale: float = 0.5
    grey: float = 0.2
    label_smoothing: float = 0.0
    k: int
    l2_normalise: bool = True
    whiten: int | None = None
    student_schedule: TrainingSchedule
    teacher_schedule: TrainingSchedule
    seed: int = 0


def gpu_recipe() -> Recipe:
    """160 px images, full-width networks, bf16."""
    return Recipe(
        side=160,
        view_side=146,
        crop=128,
        student=BackboneConfig(arch=Arch.alexnet, norm="batch", conv1_stride=2),
        big=BackboneConfig(arch=Arch.vgg16, norm="batch"),
        puzzle_side=160,
        puzzle_crop=144,
        tile=38,
        jitter=9,
        permutations=300,
        puzzle_head=PuzzleHeadConfig(fc6=512, fc7=2048, dropout=0.1, norm="batch"),
        student_head=ClassifierHeadConfig(width=1024, dropout=0.5),
        k=100,
        student_schedule=_schedule(batch=128, lr=0.05),
        teacher_schedule=_schedule(batch=128, lr=0.05),
    )


def cpu_recipe() -> Recipe:
    """112 px images, half-width AlexNets and a quarter-width VGG16."""
    return Recipe(
        side=112,
        view_side=110,
        crop=96,
        student=BackboneConfig(arch=Arch.alexnet, width=0.5, norm="batch", conv1_stride=2),
        big=BackboneConfig(arch=Arch.vgg16, width=0.25, norm="batch"),
        puzzle_side=112,
        puzzle_crop=96,
        tile=26,
        jitter=5,
        permutations=100,
        puzzle_head=PuzzleHeadConfig(fc6=256, fc7=512, dropout=0.1, norm="batch"),
        student_head=ClassifierHeadConfig(width=512, dropout=0.2),
        k=100,
        student_schedule=_schedule(batch=64, lr=0.02),
        teacher_schedule=_schedule(batch=64, lr=0.02),
    )


def recipe_for(size: Literal["gpu", "cpu"]) -> Recipe:
    return gpu_recipe() if size == "gpu" else cpu_recipe()


def _schedule(batch: int, lr: float) -> TrainingSchedule:
    return TrainingSchedule(epochs=1, batch=batch, lr=lr, shape="cosine", warmup=0.03, nesterov=True)
