"""Pairs of neighbouring patches, made in batches on the training's device (Doersch et al., ICCV 2015; SPEC 7.2, 10).

As with the puzzles, what is small is drawn first, on the CPU, into a plan; pixels are then cut by one gather.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from worker.config.pretext.context import ContextConfig
from worker.pretext.puzzles import colour_projection, standardised

DIRECTIONS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""Steps down and to the right from the first patch to the second, by label."""
NAMES = ("above left", "above", "above right", "left", "right", "below left", "below", "below right")
DROPPED_NOISE = 0.01
"""Standard deviation of what replaces a dropped channel, as a share of the kept one's."""
CHANNELS = 3


@dataclass(frozen=True, slots=True)
class PairPlan:
    """What was drawn for P pairs: CPU tensors. Patches 2p and 2p + 1 are the first and the second one of pair p."""

    labels: Tensor
    """(P,) int64, index into `DIRECTIONS`: what is to be told."""
    source: Tensor
    """(2P,) int64: the image each patch is cut from."""
    corners: Tensor
    """(2P, 2) int64: top and left of each patch, pixels."""
    kept: Tensor
    """(2P,) int64: the channel that stays where colours are dropped."""
    coarse: Tensor
    """(C,) int64: the patches that are scaled down and up again."""
    coarse_side: int
    """To which side, pixels: one for the batch."""
    noise: Tensor
    """(3, patch, patch) float32, standard normal: what all of the batch's dropped channels become."""


class PairMaker:
    """By a resolved config."""

    def __init__(self, config: ContextConfig) -> None:
        self._config = config
        self._side, self._patch = int(config.side), int(config.patch)
        self._step = self._patch + int(config.gap)
        self._jitter = int(config.jitter)
        self._coarsest = int(config.coarsest)

    def plan(self, count: int, generator: Generator) -> PairPlan:
        """Draw `pairs_per_image` pairs for each of `count` images."""
        pairs = count * self._config.pairs_per_image
        labels = torch.randint(len(DIRECTIONS), (pairs,), generator=generator)
        return PairPlan(
            labels=labels,
            source=torch.arange(count).repeat_interleave(2 * self._config.pairs_per_image),
            corners=self._draw_corners(torch.tensor(DIRECTIONS)[labels], generator),
            kept=torch.randint(CHANNELS, (2 * pairs,), generator=generator),
            coarse=torch.randperm(2 * pairs, generator=generator)[: round(2 * pairs * self._config.coarse)],
            coarse_side=int(torch.randint(self._coarsest, self._patch + 1, (), generator=generator)),
            noise=torch.randn((CHANNELS, self._patch, self._patch), generator=generator),
        )

    def make(self, images: Tensor, plan: PairPlan) -> Tensor:
        """Patches float32 (2P, 3, patch, patch), channels_last: mean 0, standard deviation 1 over each one's values."""
        return standardised(self.seen(images, plan), 1.0)

    def seen(self, images: Tensor, plan: PairPlan) -> Tensor:
        """The patches before normalisation, 0..255, of uint8 (N, 3, side, side), on their device."""
        patches = self._cut(images, plan.source, plan.corners)
        patches = _coarsened(patches, plan.coarse.to(images.device, non_blocking=True), plan.coarse_side)
        match self._config.colour:
            case "drop":
                kept, noise = (drawn.to(images.device, non_blocking=True) for drawn in (plan.kept, plan.noise))
                return _dropped(patches, kept, noise)
            case "projection":
                return torch.einsum("dc,nchw->ndhw", colour_projection().to(images.device), patches)
            case "keep":
                return patches

    def _draw_corners(self, directions: Tensor, generator: Generator) -> Tensor:
        """(P, 2) -> (2P, 2): both patches of a pair, anywhere where both of them fit with their jitter."""
        shift = directions * self._step
        lowest = self._jitter + (-shift).clamp_min(0)
        room = self._side - self._patch - 2 * self._jitter - shift.abs()
        first = lowest + (torch.rand(directions.shape, generator=generator) * (room + 1)).long()
        jitter = torch.randint(-self._jitter, self._jitter + 1, (len(first), 2, 2), generator=generator)
        return (torch.stack([first, first + shift], dim=1) + jitter).flatten(0, 1)

    def _cut(self, images: Tensor, source: Tensor, corners: Tensor) -> Tensor:
        """float32 (M, 3, patch, patch): a window of image `source` (M,) at each of `corners` (M, 2)."""
        windows = images.unfold(2, self._patch, 1).unfold(3, self._patch, 1)
        channels = torch.arange(CHANNELS, device=images.device)
        top, left = corners[:, :, None].to(images.device, non_blocking=True).unbind(1)
        cut: Tensor = windows[source[:, None].to(images.device, non_blocking=True), channels, top, left]
        return cut.float()


def _coarsened(patches: Tensor, chosen: Tensor, side: int) -> Tensor:
    """`chosen` patches scaled down to `side` by area and up again bilinearly."""
    small = functional.adaptive_avg_pool2d(patches[chosen], side)
    large = functional.interpolate(small, size=patches.shape[2:], mode="bilinear", align_corners=False)
    return patches.index_copy(0, chosen, large)


def _dropped(patches: Tensor, kept: Tensor, noise: Tensor) -> Tensor:
    """One channel stays, the others become its mean and `noise` (standard normal) of `DROPPED_NOISE` its deviation."""
    stays = (torch.arange(CHANNELS, device=patches.device) == kept[:, None])[:, :, None, None]
    channel = patches.gather(1, kept.view(-1, 1, 1, 1).expand(-1, 1, *patches.shape[2:]))
    deviation, mean = torch.std_mean(channel, dim=(2, 3), correction=0, keepdim=True)
    return torch.where(stays, patches, mean + noise * deviation * DROPPED_NOISE)
