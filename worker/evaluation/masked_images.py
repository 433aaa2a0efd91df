"""Photographs with their masks on the device, each in the upper left of a canvas that holds the largest of them."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from models.pixels import Pixels
from worker.config.reasons import Reason
from worker.data.annotated import AnnotatedStore
from worker.evaluation.image_cache import ImageCache, Rows
from worker.evaluation.mean_iou import VOID
from worker.stages.contract import StageError

MIN_SIDE = 64
"""Pixels: networks are never shown less; smaller photographs are surrounded by void."""
_THREADS = 8
_CHANNELS = 4
"""Red, green, blue, class."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a photograph, pixels."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool = False


class MaskedImages:
    """Images of a store that have masks. `targets`, uint8 (256,), gives every mask index its class, 255 for void."""

    def __init__(self, store: AnnotatedStore, images: Sequence[int], targets: Tensor, device: torch.device) -> None:
        self.images = list(images)
        self.sizes = [store.size(image)[::-1] for image in self.images]
        """(height, width) of each."""
        self.largest = max(height for height, _ in self.sizes), max(width for _, width in self.sizes)
        self._store = store
        self._targets = targets
        self._cache = ImageCache(self._read, len(self.images), self.largest, device, channels=_CHANNELS)

    def __len__(self) -> int:
        return len(self.images)

    def load(self) -> None:
        """Decode everything now, where it all fits on the device."""
        if self._cache.fits:
            list(self._cache.batches(()))

    def batches(self, rows: Iterable[Rows]) -> Iterator[Tensor]:
        """uint8 (N, 4, height, width) for each array of rows: red, green, blue, class; void beyond the photograph."""
        return self._cache.batches(rows)

    def whole(self, row: int) -> Window:
        return Window(0, 0, *self.sizes[row])

    def random_window(self, row: int, crop: int | None, mirror: bool, generator: torch.Generator) -> Window:
        """A square of `crop` pixels at random, or what there is of it; drawn from a CPU generator."""
        top, left, flip = torch.rand(3, generator=generator).tolist()
        height, width = self.sizes[row]
        inner = (height, width) if crop is None else (min(crop, height), min(crop, width))
        corner = int(top * (height - inner[0] + 1)), int(left * (width - inner[1] + 1))
        return Window(*corner, *inner, mirrored=mirror and flip < 0.5)

    def _read(self, rows: Rows) -> Tensor:
        with ThreadPoolExecutor(_THREADS) as readers:
            return torch.stack(list(readers.map(self._canvas, rows.tolist())))

    def _canvas(self, row: int) -> Tensor:
        image = self.images[row]
        mask = self._store.mask(image)
        if mask is None:
            raise StageError(Reason.artifact_corrupt, f"The image {self._store.id(image)} has lost its mask.")
        height, width = mask.shape
        canvas = torch.zeros((_CHANNELS, *self.largest), dtype=torch.uint8)
        canvas[3] = VOID
        canvas[:3, :height, :width] = self._store.read(image)
        canvas[3, :height, :width] = self._targets[mask.int()]
        return canvas


def shown(canvases: Tensor, windows: Sequence[Window], size: tuple[int, int], pixels: Pixels) -> tuple[Tensor, Tensor]:
    """uint8 (N, 4, ...) -> inputs float32 (N, 3, height, width) of `size`, channels_last, and targets int64 (N, ...).

    Each window is normalised by itself; right of and below it lie zeros, the mean of normalised pixels, and void.
    """
    inputs = torch.zeros((len(canvases), 3, *size), device=canvases.device).contiguous(
        memory_format=torch.channels_last
    )
    targets = torch.full((len(canvases), *size), VOID, device=canvases.device)
    for row, (canvas, window) in enumerate(zip(canvases, windows, strict=True)):
        cut = canvas[:, window.top : window.top + window.height, window.left : window.left + window.width]
        cut = cut.flip(-1) if window.mirrored else cut
        inputs[row, :, : window.height, : window.width] = pixels.apply(cut[None, :3])[0]
        targets[row, : window.height, : window.width] = cut[3]
    return inputs, targets


def at_least(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width), neither below `MIN_SIDE`."""
    return max(MIN_SIDE, size[0]), max(MIN_SIDE, size[1])
