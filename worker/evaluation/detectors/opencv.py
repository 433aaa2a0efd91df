"""Proposals by OpenCV's extra modules (the extra `detection`)."""

import ctypes

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
MOST_EDGE_BOXES = 3000


def selective_search(image: Image, side: int) -> NDArray[np.float32]:
    """uint8 (h, w, 3), RGB -> boxes (n, 4) by the fast strategy, likely ones first; the same image, the same boxes."""
    small, factor = _shrunk(image, side)
    # OpenCV shuffles the ranks with the C library's generator.
    ctypes.CDLL(None).srand(0)
    finder = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    finder.setBaseImage(np.ascontiguousarray(small[..., ::-1]))
    finder.switchToSelectiveSearchFast()
    return _corners(np.asarray(finder.process(), np.float32), factor)


def edge_boxes(image: Image, side: int) -> NDArray[np.float32]:
    """uint8 (h, w, 3), RGB -> boxes (n, 4), the best score first.

    The edges are the colour gradient's ridges; the published method learns its edges, but ships no such model.
    """
    small, factor = _shrunk(image, side)
    strength, angle = _gradient(small)
    finder = cv2.ximgproc.createEdgeBoxes()
    finder.setMaxBoxes(MOST_EDGE_BOXES)
    finder.setMinScore(0)
    finder.setMinBoxArea(200)
    boxes, _ = finder.getBoundingBoxes(_ridges(strength, angle), angle)
    return _corners(np.asarray(boxes, np.float32), factor)


def _shrunk(image: Image, side: int) -> tuple[Image, float]:
    """The image, and how many of its pixels one of the original's became."""
    cv2.setNumThreads(1)  # there is a process for every core
    factor = min(1.0, side / max(image.shape[:2]))
    if factor == 1:
        return image, factor
    small: Image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return small, factor


def _corners(boxes: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """x, y, width, height -> x1, y1, x2, y2 in pixels of the original."""
    corners = boxes.reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return corners / np.float32(factor)


def _gradient(image: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Strength 0..1 and direction 0..pi of the steepest channel at each pixel, float32 (h, w)."""
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1)
    x, y = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    strength = cv2.magnitude(x, y)
    steepest = strength.argmax(2)[..., None]
    x, y, strength = (np.take_along_axis(values, steepest, 2)[..., 0] for values in (x, y, strength))
    angle = np.mod(np.arctan2(y, x), np.pi)
    return (strength / max(float(strength.max()), 1e-6)).astype(np.float32), angle.astype(np.float32)


def _ridges(strength: NDArray[np.float32], angle: NDArray[np.float32]) -> NDArray[np.float32]:
    """`strength` where it is the largest across the edge, else 0."""
    y, x = np.mgrid[: strength.shape[0], : strength.shape[1]].astype(np.float32)
    across, down = np.cos(angle), np.sin(angle)
    ahead = cv2.remap(strength, x + across, y + down, cv2.INTER_LINEAR)
    behind = cv2.remap(strength, x - across, y - down, cv2.INTER_LINEAR)
    return np.where((strength >= ahead) & (strength >= behind), strength, np.float32(0))
