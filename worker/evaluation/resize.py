"""Maps of any size made into small squares of values."""

from typing import Literal

from torch import Tensor
from torch.nn import functional

How = Literal["bilinear", "average", "max"]


def resized(maps: Tensor, side: int, how: How) -> Tensor:
    """(N, C, h, w) -> float32 (N, C * side * side), flattened channel by channel.

    `bilinear` interpolates between the four nearest values and leaves out the rest, as the "Resize" layer of the
    published probes does (SPEC 8.4); `average` and `max` take the mean and the largest of each part, so that no value
    is left out.
    """
    maps = maps.float()
    match how:
        case "bilinear":
            small = functional.interpolate(maps, size=(side, side), mode="bilinear", align_corners=False)
        case "average":
            small = functional.adaptive_avg_pool2d(maps, side)
        case "max":
            small = functional.adaptive_max_pool2d(maps, side)
    return small.flatten(1)
