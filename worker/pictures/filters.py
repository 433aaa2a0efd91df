"""The first layer's filters as pictures: smooth edges and colours after good training, noise before."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import nn

from models.backbone import Backbone
from worker.pictures.text import LINE, PAPER, write

COLUMNS = 8
FILTER_SIDE = 44
"""Pixels a filter is enlarged to, at least; whole multiples keep its values apart."""
GAP, MARGIN = 2, 8


def first_filters(backbone: Backbone) -> NDArray[np.float32] | None:
    """Weights of the first convolution as images, (channels, height, width, 3); None where it sees no pixels."""
    layer = next((layer for layer in backbone.modules() if isinstance(layer, nn.Conv2d)), None)
    if layer is None or layer.weight.shape[1] != 3:
        return None
    weights: NDArray[np.float32] = layer.weight.detach().cpu().float().permute(0, 2, 3, 1).numpy()
    return weights


def filter_picture(panels: Mapping[str, NDArray[np.float32]]) -> Image.Image:
    """The panels side by side, each with its name and its filters in rows of eight."""
    drawn = [_panel(name, filters) for name, filters in panels.items()]
    width = sum(panel.width + MARGIN for panel in drawn) + MARGIN
    picture = Image.new("RGB", (width, max(panel.height for panel in drawn) + 2 * MARGIN), PAPER)
    left = MARGIN
    for panel in drawn:
        picture.paste(panel, (left, MARGIN))
        left += panel.width + MARGIN
    return picture


def _panel(name: str, filters: NDArray[np.float32]) -> Image.Image:
    count, height, width, _ = filters.shape
    scale = -(-FILTER_SIDE // height)
    cell = height * scale + GAP
    title = f"{name}: {count} filters of {height} x {width}"
    panel = Image.new("RGB", (COLUMNS * cell, LINE + GAP + -(-count // COLUMNS) * cell), PAPER)
    write(ImageDraw.Draw(panel), 0, 0, title)
    for number, values in enumerate(filters):
        image = Image.fromarray(stretched(values)).resize((width * scale, height * scale), Image.Resampling.NEAREST)
        panel.paste(image, (number % COLUMNS * cell, LINE + GAP + number // COLUMNS * cell))
    return panel


def stretched(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """One filter's values, all channels together, stretched to 0..255; a constant filter becomes grey."""
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.full(values.shape, 128, np.uint8)
    return np.round((values - low) * (255 / (high - low))).astype(np.uint8)
