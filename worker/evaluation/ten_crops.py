"""Ten views of an image at test: the corners and the centre, each also mirrored (SPEC 8.6)."""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

Views = Literal[1, 10]


def views(images: Tensor, crop: int, count: Views) -> Iterator[Tensor]:
    """(N, 3, side, side) -> `count` times (N, 3, crop, crop): the centre alone, or four corners and the centre, each as
    it is and from left to right."""
    side = images.shape[-1]
    middle, end = (side - crop) // 2, side - crop
    corners = [(0, 0), (0, end), (end, 0), (end, end), (middle, middle)] if count == 10 else [(middle, middle)]
    for top, left in corners:
        cut = images[:, :, top : top + crop, left : left + crop].contiguous(memory_format=torch.channels_last)
        yield cut
        if count == 10:
            yield cut.flip(-1)


def mean_over_views(predict: Callable[[Tensor], Tensor], images: Tensor, crop: int, count: Views) -> Tensor:
    """The mean of what `predict` says of each view; give it probabilities, for views are averaged after the softmax."""
    total: Tensor | None = None
    for view in views(images, crop, count):
        said = predict(view)
        total = said if total is None else total + said
    assert total is not None  # there is a view at least
    return total / count
