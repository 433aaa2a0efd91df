"""Photographs of any shape, as equal squares on the device, and windows cut from them at random."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.nn import functional

from worker.data.annotated import AnnotatedStore
from worker.evaluation.image_cache import ImageCache, Rows
from worker.stages.crops import mirrored_at_random, resampled_squares

_THREADS = 8


class Canvases:
    """Images of an annotated store, each resized so that its longer side is `side`, in the upper left of a square.

    What the photograph leaves free repeats its last row or column. Every file is decoded once where all canvases fit
    into memory (`ImageCache`).
    """

    def __init__(self, store: AnnotatedStore, images: Sequence[int], side: int, device: torch.device) -> None:
        self.side = side
        self.sizes = torch.tensor([canvas_size(store.size(image), side) for image in images]).reshape(-1, 2)
        """(images, 2) int64: height and width of each photograph on its canvas."""
        self._store = store
        self._photographs = list(images)
        self._cache = ImageCache(self._read, len(images), (side, side), device)

    def __len__(self) -> int:
        return len(self._photographs)

    def batches(self, rows: Iterable[Rows]) -> Iterator[Tensor]:
        """uint8 (N, 3, side, side) for each array of rows."""
        return self._cache.batches(rows)

    def _read(self, rows: Rows) -> Tensor:
        with ThreadPoolExecutor(_THREADS) as readers:
            return torch.stack(list(readers.map(self._canvas, rows.tolist())))

    def _canvas(self, row: int) -> Tensor:
        pixels = self._store.read(self._photographs[row])
        height, width = self.sizes[row].tolist()
        resized = functional.interpolate(pixels[None], size=(height, width), mode="bilinear", antialias=True)[0]
        # The last row and column again: clamped indices cost less than padding, which uint8 lacks.
        y = torch.arange(self.side).clamp_max(height - 1)
        x = torch.arange(self.side).clamp_max(width - 1)
        return resized[:, y[:, None], x]


def canvas_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(width, height) of a photograph -> (height, width), the longer one `side`."""
    width, height = size
    scale = side / max(width, height)
    return max(1, round(height * scale)), max(1, round(width * scale))


def random_windows(
    canvases: Tensor, sizes: Tensor, crop: int, scales: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """uint8 (N, 3, side, side) -> float32 (N, 3, crop, crop) in 0..255: a square at random from each, half mirrored.

    It is what a crop of `crop` pixels shows of the photograph enlarged by a factor uniform within `scales` (SPEC 8.1);
    a window larger than the photograph's shorter side shrinks to that. `sizes` (N, 2) are (height, width) on the
    canvas, on the CPU; drawn from a CPU generator.
    """
    least, most = scales
    factors = least + (most - least) * torch.rand(len(canvases), generator=generator)
    sides = torch.minimum(crop / factors, sizes.amin(1))
    corners = torch.rand((len(canvases), 2), generator=generator) * (sizes - sides[:, None])
    device = canvases.device
    windows = resampled_squares(
        canvases, crop, sides.to(device, non_blocking=True), corners.to(device, non_blocking=True)
    )
    return mirrored_at_random(windows, generator)
