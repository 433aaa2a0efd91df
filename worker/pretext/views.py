"""Random views of images, made in batches on their device: cropped, mirrored, recoloured, blurred (SimCLR, appendix A).

The numbers of a view are drawn first, on the CPU, into a `ViewPlan`. All changes of colour are then one affine map of
each pixel's red, green and blue, clamped once at the end; the authors' code clamps after every change, draws their
order and turns hues in HSV (our choice, for speed).
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from worker.config.pretext.simclr import SimclrConfig

LARGEST_STRETCH = 4 / 3
"""Of a view's width to its height, or the other way round, before the image's edges bound them."""
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.8, 0.8, 0.8, 0.2
"""Largest changes at strength 1: factors 1 -+ 0.8, and 0.2 of the full circle of hues either way."""
LUMA = (0.299, 0.587, 0.114)
SIGMA = (0.1, 2.0)
SIGMA_SIDE = 224
"""Blurs have a standard deviation within `SIGMA` pixels, for views of 224 pixels."""


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """What was drawn for N views: CPU tensors."""

    corner: Tensor
    """(N, 2) float32: top and left of the rectangle that is seen, pixels."""
    size: Tensor
    """(N, 2) float32: its height and width, pixels."""
    mirrored: Tensor
    """(N,) bool."""
    brightness: Tensor
    """(N,) float32: factor of all values; 1 = as it was."""
    contrast: Tensor
    """(N,) float32: factor of the distance to the mean grey; 1 = as it was."""
    saturation: Tensor
    """(N,) float32: factor of the distance to the pixel's own grey; 1 = as it was, 0 = grey."""
    hue: Tensor
    """(N,) float32: turn about the grey axis, in full circles; 0 = as it was."""
    sigma: Tensor
    """(N,) float32: standard deviation of the blur, pixels of the view; 0 = none."""


def draw_views(config: SimclrConfig, count: int, generator: Generator) -> ViewPlan:
    """Views for `count` images, by a resolved config."""
    size = _draw_sizes(config, count, generator)
    corner = torch.rand((count, 2), generator=generator) * (int(config.side) - size)
    changed = _drawn_share(count, config.colour_share, generator) * config.colour
    brightness, contrast, saturation, hue = (torch.rand((4, count), generator=generator) * 2 - 1) * changed
    grey = _drawn_share(count, config.grey, generator)
    sigma = torch.empty(count).uniform_(*SIGMA, generator=generator) * (int(config.crop) / SIGMA_SIDE)
    return ViewPlan(
        corner=corner,
        size=size,
        mirrored=_drawn_share(count, 0.5 if config.flip else 0.0, generator) > 0,
        brightness=1 + BRIGHTNESS * brightness,
        contrast=1 + CONTRAST * contrast,
        saturation=(1 + SATURATION * saturation) * (1 - grey),
        hue=HUE * hue,
        sigma=sigma * _drawn_share(count, config.blur, generator),
    )


def views(images: Tensor, plan: ViewPlan, crop: int) -> Tensor:
    """(N, 3, side, side) in 0..255 on any device -> float32 (N, 3, crop, crop) in 0..255, on that device."""
    seen = recoloured(resized_crops(images, plan, crop), plan)
    chosen = plan.sigma.nonzero().flatten()
    if len(chosen):
        there = chosen.to(seen.device, non_blocking=True)
        seen[there] = blurred(seen[there], plan.sigma[chosen])
    return seen


def resized_crops(images: Tensor, plan: ViewPlan, crop: int) -> Tensor:
    """Each image's rectangle as a square of `crop` pixels, bilinearly, mirrored where that was drawn."""
    scale = plan.size / images.shape[-1]
    # The sampling grid spans -1..1 over the image.
    centre = 2 * plan.corner / images.shape[-1] + scale - 1
    scale = torch.stack([scale[:, 0], torch.where(plan.mirrored, -scale[:, 1], scale[:, 1])], dim=1)
    places = (2 * torch.arange(crop) + 1) / crop - 1
    down, right = (centre[..., None] + scale[..., None] * places).to(images.device, non_blocking=True).unbind(1)
    shape = (len(images), crop, crop)
    grid = torch.stack([right[:, None, :].expand(shape), down[:, :, None].expand(shape)], dim=-1)
    return functional.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)


def recoloured(images: Tensor, plan: ViewPlan) -> Tensor:
    """float32 (N, 3, h, w) in 0..255: brightness, contrast, saturation, hue, in this order; contiguous."""
    device = images.device
    matrix, share = (values.to(device, non_blocking=True) for values in colour_maps(plan))
    flat = images.flatten(2)
    mean_grey = torch.tensor(LUMA, device=device) @ flat.mean(2).mT
    offset = (share * mean_grey)[:, None, None]
    return torch.baddbmm(offset, matrix, flat).clamp_(0, 255).view(images.shape)


def colour_maps(plan: ViewPlan) -> tuple[Tensor, Tensor]:
    """A matrix of red, green and blue for each view, (N, 3, 3), and the share of its mean grey to be added, (N,).

    Mixing with grey and turning about the grey axis leave greys as they are, so one number is added to all channels.
    """
    saturation = plan.saturation[:, None, None]
    mixed = saturation * torch.eye(3) + (1 - saturation) * torch.tensor(LUMA).expand(3, 3)
    factor = (plan.contrast * plan.brightness)[:, None, None]
    return factor * (hue_turns(plan.hue) @ mixed), (1 - plan.contrast) * plan.brightness


def hue_turns(hue: Tensor) -> Tensor:
    """(N,) in full circles -> (N, 3, 3): turns about the axis of greys; a third of a circle turns red into green."""
    angle = 2 * math.pi * hue
    own = (1 + 2 * angle.cos()) / 3
    last = (1 - angle.cos()) / 3 - angle.sin() / math.sqrt(3)
    after = 1 - own - last
    rows = [own, last, after, after, own, last, last, after, own]
    return torch.stack(rows, dim=1).view(-1, 3, 3)


def blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """float32 (N, 3, s, s), each by a Gaussian of its own deviation in pixels, no more than `SIGMA` allows.

    The edge is continued outwards; the Gaussian ends at three times the largest deviation.
    """
    count, channels, side, _ = images.shape
    reach = math.ceil(3 * SIGMA[1] * side / SIGMA_SIDE)
    apart = torch.arange(-reach, reach + 1)
    weights = (-(apart**2) / (2 * sigma.square()[:, None])).softmax(-1)
    kernels = weights.repeat_interleave(channels, 0)[:, None].to(images.device, non_blocking=True)
    padded = functional.pad(images.reshape(1, -1, side, side), (reach, reach, reach, reach), mode="replicate")
    groups = count * channels
    down = functional.conv2d(padded, kernels[..., None], groups=groups)
    return functional.conv2d(down, kernels[:, :, None], groups=groups).view_as(images)


def _draw_sizes(config: SimclrConfig, count: int, generator: Generator) -> Tensor:
    """(N, 2) height and width, pixels: their areas uniform, the logarithms of their ratios too, but for the edges."""
    side = int(config.side)
    area = torch.empty(count).uniform_(config.min_area, 1, generator=generator)
    stretch = torch.empty(count).uniform_(-1, 1, generator=generator) * math.log(LARGEST_STRETCH) / 2
    longer = torch.stack([-stretch, stretch], dim=1).exp()
    return (side * area.sqrt()[:, None] * longer).clamp_max(side)


def _drawn_share(count: int, share: float, generator: Generator) -> Tensor:
    """(N,) float32: 1 for a share of them, 0 for the others."""
    return (torch.rand(count, generator=generator) < share).float()
