"""Which maps of a network are probed, and at which size."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.backbone import empty_backbone, map_shape
from models.config import BackboneConfig
from worker.config.reasons import Reason
from worker.stages.contract import StageError

Shape = tuple[int, int, int]
"""(channels, height, width)."""


@dataclass(frozen=True)
class View:
    """What a network sees of an image: resized to `side`, centre crop of `crop` pixels."""

    side: int
    crop: int


def resized_shape(config: BackboneConfig, tap: str, crop: int, max_dims: int) -> Shape:
    """(channels, p, p): the largest square of at most `max_dims` values, within the map and at least 1 x 1.

    At 9600 these are SPEC 8.4's 9600/9216/9600/9600/9216 for the full-size AlexNet.
    """
    channels, height, width = map_shape(config, crop, tap)
    side = max(1, min(height, width, int((max_dims / channels) ** 0.5)))
    return channels, side, side


def tap_shapes(config: BackboneConfig, taps: Sequence[str], crop: int, max_dims: int) -> dict[str, Shape]:
    """`resized_shape` of each tap.

    Raises `StageError(bad_config)` for a tap that the network doesn't have, or a crop too small for it.
    """
    network = empty_backbone(config)
    unknown = [tap for tap in taps if tap not in network.tap_channels]
    if unknown:
        message = f"This network has no map called {', '.join(unknown)}; it has {network.told_taps()}."
        raise StageError(Reason.bad_config, message)
    try:
        return {tap: resized_shape(config, tap, crop, max_dims) for tap in taps}
    except RuntimeError as error:
        message = f"A crop of {crop} pixels leaves nothing of the maps {', '.join(taps)}: choose a larger one."
        raise StageError(Reason.bad_config, message) from error
