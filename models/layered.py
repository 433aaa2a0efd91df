"""AlexNet and VGG16: convolutions in a row."""

from collections.abc import Collection

from torch import Tensor, nn

from models.base import Backbone
from models.config import BackboneConfig
from models.layers import Trunk


class LayeredBackbone(Backbone):
    """Convolutions `features`; the state_dict's keys are torchvision's (`features.N.weight`)."""

    last_tap = "conv5"
    left_out = ("classifier",)

    def __init__(self, config: BackboneConfig, trunk: Trunk) -> None:
        super().__init__()
        self.config = config
        self.features = nn.Sequential(*trunk.layers)
        self.tap_channels = trunk.tap_channels
        self.out_channels = trunk.tap_channels["conv5"]
        self._tap_ends = trunk.tap_ends

    @property
    def published(self) -> nn.Module:
        return self

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

    def told_taps(self) -> str:
        return ", ".join(self.tap_channels)
