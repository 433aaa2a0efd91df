"""What a pretext task shows its network: examples made of a dataset's images, in one picture."""

import numpy as np
import torch
from PIL import Image

from worker.data.loader import read_batch
from worker.data.store import ImageStore
from worker.pictures.tensor_image import equally_wide, side_by_side, stacked
from worker.pretext.task import PretextTask
from worker.stages.randomness import numpy_generator, torch_generator

PREVIEW_FILE = "preview.png"
"""In the folder of a checkpoint that was trained on a pretext task."""
COLUMNS = 2
SHOWN = 8


def preview(task: PretextTask, store: ImageStore, side: int, seed: int, count: int = SHOWN) -> Image.Image:
    """Examples of `count` images (or of all, where there are fewer), drawn by the seed and resized to `side` pixels.

    The same arguments give the same picture; the task, its network and torch's global generator stay as they are.
    """
    chosen = numpy_generator(seed, "preview").permutation(store.count)[:count]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        pictures = task.pictures(read_batch(store, np.sort(chosen), side), torch_generator(seed, "preview"))
    pictures = equally_wide(pictures)
    rows = [pictures[start : start + COLUMNS] for start in range(0, len(pictures), COLUMNS)]
    return stacked([side_by_side(row) for row in rows])
