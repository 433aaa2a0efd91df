"""From a config to its task: the one place that knows them all."""

import torch

from worker.config.pretext.bigan import BiganConfig
from worker.config.pretext.colorization import ColorizationConfig
from worker.config.pretext.context import ContextConfig
from worker.config.pretext.counting import CountingConfig
from worker.config.pretext.inpainting import InpaintingConfig
from worker.config.pretext.jigsaw import PuzzleConfig
from worker.config.pretext.rotation import RotationConfig
from worker.config.pretext.simclr import SimclrConfig
from worker.config.pretext.split_brain import SplitBrainConfig
from worker.config.pretrain import PretrainConfig
from worker.pretext.bigan import BiganTask
from worker.pretext.colorization import ColorizationTask
from worker.pretext.context import ContextTask
from worker.pretext.counting import CountingTask
from worker.pretext.inpainting import InpaintingTask
from worker.pretext.jigsaw import JigsawTask
from worker.pretext.rotation import RotationTask
from worker.pretext.simclr import SimclrTask
from worker.pretext.split_brain import SplitBrainTask
from worker.pretext.task import PretextTask
from worker.stages.randomness import derived_seed


def pretext_task(config: PretrainConfig) -> PretextTask:
    """The task of a resolved config, with fresh weights by its seed; torch's global generator is left as it was.

    Raises `StageError(bad_config)`, and RuntimeError where the network is too deep for the images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, "weights"))
        match config.pretext:
            case PuzzleConfig():
                return JigsawTask(config.pretext, config.backbone, config.seed)
            case RotationConfig():
                return RotationTask(config.pretext, config.backbone)
            case ContextConfig():
                return ContextTask(config.pretext, config.backbone)
            case InpaintingConfig():
                return InpaintingTask(config.pretext, config.backbone, config.seed)
            case ColorizationConfig():
                return ColorizationTask(config.pretext, config.backbone, config.seed)
            case SplitBrainConfig():
                return SplitBrainTask(config.pretext, config.backbone, config.seed)
            case CountingConfig():
                return CountingTask(config.pretext, config.backbone)
            case BiganConfig():
                return BiganTask(config.pretext, config.backbone, config.schedule)
            case SimclrConfig():
                return SimclrTask(config.pretext, config.backbone, config.schedule.batch)
