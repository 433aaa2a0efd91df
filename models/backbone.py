"""From a config to its network."""

from functools import lru_cache

import torch

from models.alexnet import alexnet_trunk
from models.base import Backbone
from models.config import BackboneConfig
from models.layered import LayeredBackbone
from models.library import LibraryBackbone
from models.vgg16 import vgg16_trunk

__all__ = ["Backbone", "LayeredBackbone", "build_backbone", "build_layered", "empty_backbone", "map_shape"]


def build_backbone(config: BackboneConfig) -> Backbone:
    """A network with fresh weights, drawn from torch's global generator: seed that first.

    Raises `NoSuchNetwork` where a library lacks the network, or it makes no maps.
    """
    return LibraryBackbone(config) if config.library else build_layered(config)


def build_layered(config: BackboneConfig) -> LayeredBackbone:
    """`build_backbone` for AlexNets and VGG16."""
    return LayeredBackbone(config, alexnet_trunk(config) if config.is_alexnet else vgg16_trunk(config))


def empty_backbone(config: BackboneConfig) -> Backbone:
    """A network to be filled by `load_state_dict(..., assign=True)`: draws nothing.

    It is without memory (device `meta`); a library's is on the CPU, for its constructor may compute with its tensors.
    Raises `NoSuchNetwork`.
    """
    if config.library:
        with torch.random.fork_rng(devices=[]):
            return LibraryBackbone(config)
    with torch.device("meta"):
        return build_layered(config)


def map_shape(config: BackboneConfig, side: int, tap: str | None = None) -> tuple[int, int, int]:
    """(channels, height, width) of a tap, or of the output, for a square input of `side` pixels; computes nothing.

    Raises KeyError for a tap that isn't there, RuntimeError where the input is too small, `NoSuchNetwork`.
    """
    backbone = _skeleton(config)
    image = torch.empty(1, 3, side, side, device="meta")
    maps = backbone(image) if tap is None else backbone.taps(image, [tap])[tap]
    return int(maps.shape[1]), int(maps.shape[2]), int(maps.shape[3])


@lru_cache(maxsize=8)  # a large network of a library takes a second to build
def _skeleton(config: BackboneConfig) -> Backbone:
    return empty_backbone(config).to("meta").eval()
