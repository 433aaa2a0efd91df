"""Networks of torchvision and timm, up to their last map."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from models.base import Backbone
from models.config import BackboneConfig

_SIDES = (256, 320)
"""Of two images, pixels: what grows with the image, and has as many channels for both, is a map."""
_TOLD = 40


class NoSuchNetwork(Exception):
    """The library lacks the network or isn't installed, or the network makes no maps."""


class LibraryBackbone(Backbone):
    """A classifier of torchvision or timm without what follows its last map, with fresh weights.

    Taps are the names of its modules, as in its state_dict's keys (`layer3`, `features.12`, `layer4.1.relu`): what the
    module gives, as it is. So a tap is rectified only where the module ends in a ReLU. A module that runs several times
    gives its last map. The output is the last map of a top-level module. Built on the CPU.

    Raises `NoSuchNetwork`.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.network = _built(config)
        maps, self.left_out = _looked_at(self.network, config)
        self.tap_channels = {name: seen.shape[1] for name, seen in maps.items()}
        self.last_tap = next(reversed(maps))
        self.out_channels = self.tap_channels[self.last_tap]
        self._calls = {name: seen.calls for name, seen in maps.items()}
        for name in self.left_out:
            setattr(self.network, name, None)

    @property
    def published(self) -> nn.Module:
        return self.network

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, h, w) normalised pixels -> (N, out_channels, h', w'), the last map."""
        return self.taps(x, [self.last_tap])[self.last_tap]

    def taps(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """(N, 3, h, w) -> the asked modules' maps; deeper modules don't run. Raises KeyError for other names."""
        waiting = {name: self._calls[name] for name in names}
        found: dict[str, Tensor] = {}

        def look(name: str, output: Tensor) -> None:
            waiting[name] -= 1
            if waiting[name]:
                return
            if len(found) + 1 == len(waiting):
                found[name] = output
                raise _Enough
            found[name] = output.clone()  # modules that follow may write into it

        if waiting:
            with _watched(self.network, waiting, look):
                self.network(x)
        return found

    def told_taps(self) -> str:
        outer = [name for name in self.tap_channels if name.count(".") < 2]
        more = " and other modules" if len(outer) > _TOLD or len(outer) < len(self.tap_channels) else ""
        return ", ".join(outer[-_TOLD:]) + more


class _Enough(Exception):
    """All that was asked for is there."""


class _Seen(NamedTuple):
    shape: tuple[int, ...]
    """Of the module's last output; empty where that is no tensor."""
    calls: int


def _built(config: BackboneConfig) -> nn.Module:
    library, _, name = config.arch.partition(":")
    return _of_timm(name) if library == "timm" else _of_torchvision(name)


def _of_torchvision(name: str) -> nn.Module:
    from torchvision import models

    if name not in models.list_models(module=models):
        raise NoSuchNetwork(f"torchvision has no classifier {name!r}")
    network: nn.Module = models.get_model(name, weights=None)
    return network


def _of_timm(name: str) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise NoSuchNetwork("timm isn't installed; it comes with the extra `timm`") from error
    if not timm.is_model(name):
        raise NoSuchNetwork(f"timm has no network {name!r}")
    try:
        network: nn.Module = timm.create_model(name, pretrained=False)
    except RuntimeError as error:
        raise NoSuchNetwork(f"timm has no network {name!r}: {_line(error)}") from error
    return network


def _looked_at(network: nn.Module, config: BackboneConfig) -> tuple[dict[str, _Seen], tuple[str, ...]]:
    """The maps, the output last, in the order in which they are made; the top-level modules that aren't needed."""
    try:
        small, large = (_outputs(network, side) for side in _SIDES)
    except Exception as error:  # anything may happen in a network that doesn't take every size
        raise NoSuchNetwork(f"{config.arch} doesn't take images of any size: {_line(error)}") from error
    maps = [name for name, seen in small.items() if name in large and _is_map(seen, large[name])]
    last = next((name for name in reversed(maps) if "." not in name), None)
    if last is None:
        raise NoSuchNetwork(f"{config.arch} makes no maps (channels, height, width): it may be a transformer")
    order = list(small)
    kept = order[: order.index(last) + 1]
    unneeded = [
        name
        for name, child in network.named_children()
        if (name in small and name not in kept) or (name not in small and any(True for _ in child.parameters()))
    ]
    return {name: small[name] for name in kept if name in maps}, tuple(unneeded)


@torch.no_grad()
def _outputs(network: nn.Module, side: int) -> dict[str, _Seen]:
    """What every module gives for an image, in the order in which they end for the last time; computes nothing."""
    outputs: dict[str, _Seen] = {}

    def look(name: str, output: object) -> None:
        before = outputs.pop(name, None)
        shape = tuple(output.shape) if isinstance(output, Tensor) else ()
        outputs[name] = _Seen(shape, before.calls + 1 if before else 1)

    weights = {key: value.to("meta") for key, value in chain(network.named_parameters(), network.named_buffers())}
    network.eval()
    with _watched(network, [name for name, _ in network.named_modules() if name], look):
        functional_call(network, weights, torch.empty(1, 3, side, side, device="meta"))
    network.train()
    return outputs


def _is_map(small: _Seen, large: _Seen) -> bool:
    if len(small.shape) != 4 or len(large.shape) != 4:
        return False
    grows = all(one < other for one, other in zip(small.shape[2:], large.shape[2:], strict=True))
    return grows and small.shape[1] == large.shape[1]


@contextmanager
def _watched(network: nn.Module, names: Collection[str], look: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Shows `look` what the named modules give; `_Enough` ends the run."""
    handles = [network.get_submodule(name).register_forward_hook(_hook(name, look)) for name in names]
    try:
        yield
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()


def _hook(name: str, look: Callable[[str, Tensor], None]) -> Callable[[nn.Module, object, Tensor], None]:
    return lambda module, inputs, output: look(name, output)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
