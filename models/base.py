"""What every network here can do, whoever designed it."""

from abc import ABC, abstractmethod
from collections.abc import Collection

from torch import Tensor, nn

from models.config import BackboneConfig


class Backbone(nn.Module, ABC):
    """The part of a network that makes maps of images, with its maps by name."""

    config: BackboneConfig
    tap_channels: dict[str, int]
    """Map -> its channels, in the order in which maps are made."""
    last_tap: str
    """The deepest map (before pool5, where there is one)."""
    out_channels: int
    left_out: tuple[str, ...]
    """Modules of the published network that make no maps: its classifier."""

    @property
    @abstractmethod
    def published(self) -> nn.Module:
        """The module whose state_dict has the keys of the published network's weights."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, h, w) normalised pixels -> (N, out_channels, h', w')."""

    @abstractmethod
    def taps(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """(N, 3, h, w) -> the asked maps; deeper layers don't run. Raises KeyError for a name that isn't there."""

    @abstractmethod
    def told_taps(self) -> str:
        """Which maps there are, in words."""
