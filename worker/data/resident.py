"""All images of a store on the GPU, where there is room for them: no byte crosses the bus again."""

import torch
from torch import Tensor
from torch.nn import functional

from worker.data.store import ImageStore

SHARE = 0.25
"""Of the device's free memory that images may fill (our choice): the rest belongs to the network."""
_CHUNK = 512


def resident_images(store: ImageStore, side: int, device: torch.device) -> Tensor | None:
    """uint8 (count, side, side, 3) on the CUDA `device`, made once for the opened store; None where they don't fit.

    Where `side` is not the store's, they are resized there as `read_batch` does, to within a grey level of it.
    """
    kept = store.resident.get((side, str(device)))
    if kept is None and fits(store.count, side, device):
        kept = store.resident[side, str(device)] = _uploaded(store, side, device)
    return kept


def fits(count: int, side: int, device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return count * side * side * 3 <= SHARE * free


def _uploaded(store: ImageStore, side: int, device: torch.device) -> Tensor:
    images = torch.empty((store.count, side, side, 3), dtype=torch.uint8, device=device)
    for start in range(0, store.count, _CHUNK):
        # A copy of the mapped rows: they are read-only, and torch wants to know that nobody writes.
        chunk = torch.from_numpy(store.images[start : start + _CHUNK].copy()).to(device)
        images[start : start + _CHUNK] = chunk if side == store.side else _resized(chunk, side)
    return images


def _resized(chunk: Tensor, side: int) -> Tensor:
    """uint8 (N, h, w, 3) -> (N, side, side, 3), bilinear with antialiasing."""
    values = chunk.permute(0, 3, 1, 2).float()
    resized = functional.interpolate(values, size=(side, side), mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).byte().permute(0, 2, 3, 1)
