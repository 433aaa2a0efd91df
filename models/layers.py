"""What the networks are made of, and how their weights start."""

from typing import Literal, NamedTuple

from torch import Tensor, nn
from torch.nn import functional

Init = Literal["he", "gaussian"]
"""`he`: fan-in, trains with or without batch norm. `gaussian`: the released networks' (SPEC 3.4), for `lrn`."""


class Trunk(NamedTuple):
    """Layers in order, and for every tap the number of leading layers after which its map is there."""

    layers: list[nn.Module]
    tap_ends: dict[str, int]
    tap_channels: dict[str, int]


class ClippedMaxPool2d(nn.Module):
    """Max pooling whose window shrinks to a map smaller than it, so that small tiles reach the last layer.

    On maps at least as large as `kernel` it is `torch.nn.MaxPool2d`.
    """

    def __init__(self, kernel: int, stride: int, *, ceil: bool) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.ceil = ceil

    def forward(self, x: Tensor) -> Tensor:
        window = (min(self.kernel, x.shape[-2]), min(self.kernel, x.shape[-1]))
        return functional.max_pool2d(x, window, self.stride, ceil_mode=self.ceil)

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, stride={self.stride}, ceil={self.ceil}"


def scaled(channels: int, width: float) -> int:
    """`channels * width`, rounded to the nearest multiple of 8: two groups always divide it."""
    return max(8, int(channels * width / 8 + 0.5) * 8)


def init_he(layers: list[nn.Module]) -> None:
    """He et al. 2015, fan-in, for every convolution and linear layer that a ReLU follows; biases 0."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            init_bias(layer, 0.0)


def init_bias(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, value: float) -> None:
    if layer.bias is not None:
        nn.init.constant_(layer.bias, value)
