"""What a student sees of its images: batched crops, mirrored and greyed at random, cut on the images' device."""

import torch
from torch import Generator, Tensor
from torch.nn import functional


def random_crops(images: Tensor, crop: int, min_scale: float, generator: Generator) -> Tensor:
    """uint8 (N, 3, side, side) -> (N, 3, crop, crop), channels_last: one square at random from each image.

    With `min_scale` 1 they are the pixels themselves, uint8. Below 1 the squares' sides are uniform between that share
    of `crop` and all of it, enlarged bilinearly to float32 in 0..255. Drawn from a CPU generator.
    """
    count, side = len(images), images.shape[-1]
    if min_scale == 1:
        top, left = torch.randint(side - crop + 1, (2, count), generator=generator).to(images.device, non_blocking=True)
        return _windows(images, crop, top, left)
    sides = crop * (min_scale + (1 - min_scale) * torch.rand(count, generator=generator))
    corners = torch.rand((count, 2), generator=generator) * (side - sides)[:, None]
    return resampled_squares(
        images, crop, sides.to(images.device, non_blocking=True), corners.to(images.device, non_blocking=True)
    )


def centre_crops(images: Tensor, crop: int) -> Tensor:
    """(N, 3, side, side) -> (N, 3, crop, crop), channels_last."""
    start = (images.shape[-1] - crop) // 2
    cut = images[:, :, start : start + crop, start : start + crop]
    return cut.contiguous(memory_format=torch.channels_last)


def mirrored_at_random(images: Tensor, generator: Generator) -> Tensor:
    """Half of the images, left to right."""
    chosen = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(chosen.to(images.device, non_blocking=True)[:, None, None, None], images.flip(-1), images)


def greyed_at_random(images: Tensor, share: float, generator: Generator) -> Tensor:
    """float32; the `share` of the images that is chosen has the mean of its channels in each."""
    chosen = (torch.rand(len(images), generator=generator) < share).to(images.device, non_blocking=True)
    values = images.float()
    return torch.where(chosen[:, None, None, None], values.mean(1, keepdim=True), values)


def _windows(images: Tensor, crop: int, top: Tensor, left: Tensor) -> Tensor:
    pixels = images.permute(0, 2, 3, 1)
    # (N, y, x, crop, crop, 3): every window there is, without a copy; one of them is taken from each image.
    windows = pixels.unfold(1, crop, 1).unfold(2, crop, 1).permute(0, 1, 2, 4, 5, 3)
    taken: Tensor = windows[torch.arange(len(images), device=images.device), top, left]
    return taken.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def resampled_squares(images: Tensor, crop: int, sides: Tensor, corners: Tensor) -> Tensor:
    """(N, 3, side, side) -> float32 (N, 3, crop, crop), channels_last: a square from each, resampled bilinearly.

    `sides` (N,) and upper left `corners` (N, 2), y before x, are in pixels and need not be whole.
    """
    side = images.shape[-1]
    affine = images.new_zeros((len(images), 2, 3), dtype=torch.float32)
    affine[:, 0, 0] = affine[:, 1, 1] = sides / side
    # The sampling grid spans -1..1 over the image, x before y.
    affine[:, :, 2] = ((2 * corners + sides[:, None]) / side - 1).flip(1)
    grid = functional.affine_grid(affine, [len(images), 3, crop, crop], align_corners=False)
    sampled = functional.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return sampled.contiguous(memory_format=torch.channels_last)
