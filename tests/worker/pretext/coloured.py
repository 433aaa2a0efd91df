"""Small images with colours broad enough to be told at coarse places."""

import torch
from torch import Tensor
from torch.nn import functional

from worker.stages.randomness import torch_generator


def coloured_images(count: int = 64, side: int = 48) -> Tensor:
    """uint8 (count, 3, side, side): nine colours each in fields of equal size, with a little noise."""
    generator = torch_generator(0, "coloured images")
    fields = torch.randint(10, 246, (count, 3, 3, 3), generator=generator)
    noise = torch.randint(-10, 11, (count, 3, side, side), generator=generator)
    return (functional.interpolate(fields.float(), size=side) + noise).byte()
