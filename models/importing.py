"""The user's own weights into a backbone: every layer loaded, or refused with a report of the keys."""

from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor

from models.backbone import Backbone, empty_backbone
from models.config import BackboneConfig

_NESTS = ("state_dict", "model_state_dict", "model", "backbone")
"""Where training programs put the state_dict in a file that holds more."""

_SHOWN = 10


class BadWeights(Exception):
    """The file can't be read as weights; nothing in it was executed."""


class KeyReport(BaseModel):
    """What became of every key, of the file and of the network."""

    loaded: list[str] = []
    ignored: list[str] = []
    """Of the file: a classifier's layers, which a backbone doesn't have."""
    missing: list[str] = []
    """Of the network: not in the file."""
    unexpected: list[str] = []
    """Of the file: fit no layer."""
    wrong_shape: list[str] = []
    """As `key (file 64x3x3x3, network 32x3x3x3)`."""

    def problems(self, *, unexpected: bool = True) -> str:
        """The keys that stand against loading, the first ten of each kind; empty when there are none."""
        kinds = [("missing", self.missing), ("wrong shape", self.wrong_shape)]
        if unexpected:
            kinds.append(("unexpected", self.unexpected))
        return "; ".join(f"{len(keys)} {kind}: {_first(keys)}" for kind, keys in kinds if keys)


class WeightsMismatch(Exception):
    """Keys are missing, unexpected or of another shape."""

    def __init__(self, report: KeyReport, problems: str) -> None:
        super().__init__(problems)
        self.report = report


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a state_dict that loads with `weights_only=True`, floats as float32.

    The content tells the format, not the file's name. Raises BadWeights, also for pickles that carry code and for
    weights that are not finite.
    """
    try:
        read = _read_safetensors if _is_safetensors(path) else _read_state_dict
        content = {key: value.float() if value.is_floating_point() else value for key, value in read(path).items()}
    except Exception as error:  # a stranger's file breaks parsers in many ways; all mean the same
        raise BadWeights(f"the file is neither safetensors nor a state_dict without code: {_line(error)}") from error
    if not content:
        raise BadWeights("the file holds no tensors")
    broken = [key for key, value in content.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise BadWeights(f"weights are not finite: {_first(broken)}")
    return content


def import_backbone(
    config: BackboneConfig, weights: Mapping[str, Tensor], prefix: str = "", *, allow_unused: bool = False
) -> tuple[Backbone, KeyReport]:
    """A backbone filled with `weights`, in eval mode, and what became of every key.

    Names are the published network's, after `prefix`: torchvision's for alexnet, vgg16 and vgg16_bn
    (`features.N.weight`), the library's for its networks. Raises WeightsMismatch when a layer stays unloaded, or a key
    is unused and `allow_unused` is false; `NoSuchNetwork`.
    """
    backbone = empty_backbone(config)
    own = backbone.published.state_dict()
    named = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    report = _compare(own, named, backbone.left_out)
    report.unexpected += [key for key in weights if not key.startswith(prefix)]
    problems = report.problems(unexpected=not allow_unused)
    if problems:
        raise WeightsMismatch(report, problems)
    counters = {key: torch.tensor(0) for key in own if _is_counter(key)}
    loaded = {key: named[key].to(own[key].dtype) for key in report.loaded}
    backbone.published.load_state_dict(counters | loaded, assign=True)
    return backbone.eval(), report


def _compare(own: Mapping[str, Tensor], named: Mapping[str, Tensor], left_out: tuple[str, ...]) -> KeyReport:
    classifier = tuple(f"{module}." for module in left_out)
    report = KeyReport(missing=[key for key in own if key not in named and not _is_counter(key)])
    for key, value in named.items():
        if key.startswith(classifier):
            report.ignored.append(key)
        elif key not in own:
            report.unexpected.append(key)
        elif own[key].shape != value.shape:
            report.wrong_shape.append(f"{key} (file {_size(value)}, network {_size(own[key])})")
        else:
            report.loaded.append(key)
    return report


def _is_counter(key: str) -> bool:
    """Batch norm's count of batches: old files lack it, and nothing here reads it."""
    return key.endswith(".num_batches_tracked")


def _is_safetensors(path: Path) -> bool:
    """Eight bytes of header length, then JSON."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path, device="cpu")


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping):
        raise TypeError(f"it holds a {type(content).__name__}, not a state_dict")
    for nest in _NESTS:
        if isinstance(content.get(nest), Mapping):
            content = content[nest]
            break
    strangers = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if strangers:
        raise TypeError(f"not a tensor: {_first(strangers)}")
    return {str(key): value for key, value in content.items()}


def _first(keys: list[str]) -> str:
    more = len(keys) - _SHOWN
    return ", ".join(keys[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _size(value: Tensor) -> str:
    return "x".join(str(length) for length in value.shape) or "scalar"


def _line(error: Exception) -> str:
    """The first line of an error's message: torch adds advice for programmers below it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
