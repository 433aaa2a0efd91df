"""The convolutional part of every network here, with its maps by name."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from models.alexnet import alexnet_trunk
from models.config import BackboneConfig
from models.layers import Trunk
from models.vgg16 import vgg16_trunk


class Backbone(nn.Module):
    """Convolutions `features`; the state_dict's keys are torchvision's (`features.N.weight`)."""

    def __init__(self, config: BackboneConfig, trunk: Trunk) -> None:
        super().__init__()
        self.config = config
        self.features = nn.Sequential(*trunk.layers)
        self.tap_channels = trunk.tap_channels
        self.out_channels = trunk.tap_channels["conv5"]
        self._tap_ends = trunk.tap_ends

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, h, w) normalised pixels -> (N, out_channels, h', w'), the map after pool5."""
        maps: Tensor = self.features(x)
        return maps

    def tap_end(self, name: str) -> int:
        """How many leading layers of `features` make the map `name`; raises KeyError for a name that isn't there."""
        return self._tap_ends[name]

    def taps(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """(N, 3, h, w) -> the asked maps `conv1` .. `conv5`, after ReLU and before pooling; deeper layers don't run.

        Raises KeyError for a name the network doesn't have.
        """
        wanted = {self._tap_ends[name]: name for name in names}
        found: dict[str, Tensor] = {}
        for done, layer in enumerate(self.features[: max(wanted, default=0)], start=1):
            x = layer(x)
            if done in wanted:
                found[wanted[done]] = x
        return found


def build_backbone(config: BackboneConfig) -> Backbone:
    """A network with fresh weights, drawn from torch's global generator: seed that first."""
    return Backbone(config, alexnet_trunk(config) if config.is_alexnet else vgg16_trunk(config))


def empty_backbone(config: BackboneConfig) -> Backbone:
    """A network without memory (device `meta`), to be filled by `load_state_dict(..., assign=True)`: draws nothing."""
    with torch.device("meta"):
        return build_backbone(config)


def map_shape(config: BackboneConfig, side: int, tap: str | None = None) -> tuple[int, int, int]:
    """(channels, height, width) of a tap, or after pool5, for a square input of `side` pixels; computes nothing."""
    backbone = empty_backbone(config).eval()
    image = torch.empty(1, 3, side, side, device="meta")
    maps = backbone(image) if tap is None else backbone.taps(image, [tap])[tap]
    return int(maps.shape[1]), int(maps.shape[2]), int(maps.shape[3])
