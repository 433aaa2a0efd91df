"""A backbone cut into two halves that know nothing of each other, and the plain backbone that equals them.

The first half of every layer's channels is one network, the second half another one. In the plain backbone their
convolutions are blocks on the diagonal, zeros around them.
"""

import torch
from torch import Tensor, nn

from models.backbone import LayeredBackbone, build_layered
from models.checkpoint import fill
from models.config import BackboneConfig
from models.layers import init_he

FIRST = "features.0"


class HalvedInput(nn.Module):
    """The first convolution: half of its filters see the first input channel, half see the other two."""

    def __init__(self, whole: nn.Conv2d) -> None:
        super().__init__()
        self.light = _like(whole, 1, whole.out_channels // 2, 1)
        self.colour = _like(whole, 2, whole.out_channels // 2, 1)
        init_he([self.light, self.colour])

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, h, w) -> (N, out_channels, h', w')."""
        return torch.cat([self.light(images[:, :1]), self.colour(images[:, 1:])], dim=1)


def halved_backbone(config: BackboneConfig) -> LayeredBackbone:
    """Two halves in one backbone, with fresh weights (He, fan-in); taps hold the first half's channels first.

    Not for `norm="lrn"`, which looks across channels.
    """
    backbone = build_layered(config)
    for number, layer in enumerate(backbone.features):
        if not isinstance(layer, nn.Conv2d):
            continue
        if number == 0:
            backbone.features[number] = HalvedInput(layer)
        else:
            grouped = _like(layer, layer.in_channels, layer.out_channels, 2)
            init_he([grouped])
            backbone.features[number] = grouped
    return backbone


def joined_backbone(halved: LayeredBackbone) -> LayeredBackbone:
    """The plain backbone, in eval mode, that computes what the halves do."""
    with torch.device("meta"):
        plain = build_layered(halved.config)
    weights = halved.state_dict()
    light, colour = (weights.pop(f"{FIRST}.{half}.weight") for half in ("light", "colour"))
    weights[f"{FIRST}.weight"] = _diagonal(light, colour)
    weights[f"{FIRST}.bias"] = torch.cat([weights.pop(f"{FIRST}.{half}.bias") for half in ("light", "colour")])
    for number, layer in enumerate(plain.features):
        if number and isinstance(layer, nn.Conv2d) and layer.groups == 1:
            key = f"features.{number}.weight"
            weights[key] = _diagonal(*weights[key].chunk(2))
    fill(plain, weights)
    return plain.eval()


def _diagonal(first: Tensor, second: Tensor) -> Tensor:
    """Kernels (o, i, h, w) and (p, j, h, w) -> (o + p, i + j, h, w), zero where they don't meet."""
    dense = first.new_zeros((len(first) + len(second), first.shape[1] + second.shape[1], *first.shape[2:]))
    dense[: len(first), : first.shape[1]] = first
    dense[len(first) :, first.shape[1] :] = second
    return dense


def _like(conv: nn.Conv2d, inputs: int, outputs: int, groups: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, conv.kernel_size, conv.stride, conv.padding, groups=groups)  # type: ignore[arg-type]
