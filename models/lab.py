"""sRGB to CIE Lab and back, on whole batches and any device (D65, 2 degrees: scikit-image's `rgb2lab`).

All of it is elementwise: a matrix product would be rounded to TF32 on GPUs, which is visible in Lab.
"""

import torch
from torch import Tensor

_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
_LINEAR_BELOW = 0.008856
"""Relative luminance under which the cube root is continued by a line."""
_CHANNELS = -3


def rgb_to_lab(images: Tensor) -> Tensor:
    """uint8, or float in 0..255, (..., 3, h, w) -> float32 of that shape: L in 0..100, a and b in about -110..110."""
    x, y, z = (_cube_root(row) for row in _xyz(images))
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=_CHANNELS)


def lightness(images: Tensor) -> Tensor:
    """uint8, or float in 0..255, (..., 3, h, w) -> float32 (..., 1, h, w): L alone, a third of the work."""
    weighted = _weighted(_linear(images), _TO_XYZ[1], _WHITE[1])
    return (116 * _cube_root(weighted) - 16).unsqueeze(_CHANNELS)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Lab (..., 3, h, w) -> float32 in 0..255; what lies outside of sRGB's gamut is clipped to it."""
    light, a, b = lab.float().unbind(_CHANNELS)
    y = (light + 16) / 116
    xyz = [
        _cube(value) * white for value, white in zip((y + a / 500, y, (y - b / 200).clamp_min(0)), _WHITE, strict=True)
    ]
    inverse = torch.linalg.inv(torch.tensor(_TO_XYZ, dtype=torch.float64)).tolist()
    linear = torch.stack([sum(w * v for w, v in zip(row, xyz, strict=True)) for row in inverse], dim=_CHANNELS)
    linear = linear.clamp(0, 1)
    return 255 * torch.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


def _xyz(images: Tensor) -> list[Tensor]:
    """X, Y and Z relative to white, (..., h, w) each."""
    linear = _linear(images)
    return [_weighted(linear, row, white) for row, white in zip(_TO_XYZ, _WHITE, strict=True)]


def _linear(images: Tensor) -> Tensor:
    """Light, 0..1, of pixels 0..255: sRGB's gamma undone."""
    if images.dtype == torch.uint8:
        table = _linear(torch.arange(256.0, device=images.device))
        return table.index_select(0, images.flatten().int()).view(images.shape)
    values = images.float() / 255
    return torch.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)


def _weighted(linear: Tensor, row: tuple[float, float, float], white: float) -> Tensor:
    red, green, blue = linear.unbind(_CHANNELS)
    return (red * row[0] + green * row[1] + blue * row[2]) / white


def _cube_root(values: Tensor) -> Tensor:
    return torch.where(values > _LINEAR_BELOW, values ** (1 / 3), 7.787 * values + 16 / 116)


def _cube(values: Tensor) -> Tensor:
    return torch.where(values > 0.2068966, values**3, (values - 16 / 116) / 7.787)
