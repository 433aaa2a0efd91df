"""What comes with exported weights: what they are, how to load each file, how far each is from the trained network."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from models.config import BackboneConfig
from models.pixels import Pixels


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputCard(_Section):
    """What every file's network reads."""

    size: int
    """Side of the square image, pixels; the batch may be of any size."""
    layout: str = "NCHW, float32, RGB, already normalised as `pixels` says"
    pixels: Pixels
    normalise: str


class FileCard(_Section):
    name: str
    bytes: int
    sha256: str
    load: tuple[str, str]
    """Two lines of Python."""
    max_abs_diff: float | None
    """Largest difference of its outputs to those of the trained network, in eval mode; null where not compared."""
    compared: str
    """With what it was loaded back and on what; or why it wasn't."""


class ModelCard(_Section):
    backbone: BackboneConfig
    """As trained; batch norm, where it says so, is folded into the layers in every file."""
    parameters: int
    taps: dict[str, int]
    """Channels of the maps conv1 .. conv5, after ReLU, before pooling."""
    input: InputCard
    classes: int
    """Clusters whose logits the network gives."""
    files: dict[str, FileCard]
    """By format."""
    left_out: dict[str, str]
    """Asked for, but not made, and why."""
    training: dict[str, Any]
    distilled_from: dict[str, Any] | None
    """The teacher's network, classes, pixels and training facts; null where none was given."""


def load_lines(kind: str, name: str, classes: int) -> tuple[str, str]:
    """Two lines of Python that load a file of format `kind`."""
    match kind:
        case "safetensors":
            return "from models.load import load_alexnet", f'net = load_alexnet("{name}")'
        case "convolutions":
            return "from models.load import load_backbone", f'net = load_backbone("{name}")'
        case "torchvision":
            return (
                f"net = torchvision.models.alexnet(num_classes={classes})",
                f'net.load_state_dict(torch.load("{name}", weights_only=True))',
            )
        case "onnx":
            return (
                f'session = onnxruntime.InferenceSession("{name}")',
                'logits = session.run(["logits"], {"image": images})[0]',
            )
        case "pt2":
            return f'program = torch.export.load("{name}")', "net = program.module()"
    raise ValueError(f"unknown format {kind!r}")


def normalise_line(pixels: Pixels) -> str:
    """How pixels become the network's input, in words."""
    match pixels.kind:
        case "imagenet":
            return (
                "RGB in 0..1 minus (0.485, 0.456, 0.406), divided by (0.229, 0.224, 0.225), as torchvision's transforms"
            )
        case "lightness":
            return "(L - 50) / 25 of CIE Lab (sRGB, D65), the same in all three channels"
        case "lab":
            return "CIE Lab (sRGB, D65): (L - 50) / 25, a / 15, b / 15"
        case "image":
            spread = f"divided by their standard deviation, times {pixels.std:g}"
            return f"each image minus the mean of all its values, {spread}"
