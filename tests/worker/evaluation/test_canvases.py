from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from worker.data.annotated import AnnotatedStore, write_annotated_store
from worker.evaluation.canvases import Canvases, canvas_size, random_windows
from worker.stages.randomness import torch_generator

CPU = torch.device("cpu")


def open_store(path: Path, *sizes: tuple[int, int]) -> AnnotatedStore:
    """Photographs of (height, width): red grows downwards, green to the right, from 0 to 250."""
    images = {}
    for number, (height, width) in enumerate(sizes):
        y, x = np.mgrid[:height, :width]
        parts = [y * 250 / max(1, height - 1), x * 250 / max(1, width - 1), np.full((height, width), 90.0)]
        images[f"{number}"] = np.stack(parts, axis=-1).astype(np.uint8)
    write_annotated_store(path, images, {"all": list(images)})
    return AnnotatedStore.open(path)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(32, 500))
def test_the_longer_side_fills_the_canvas_and_the_shape_stays(width: int, height: int, side: int) -> None:
    found = canvas_size((width, height), side)
    assert max(found) == side
    assert min(found) >= 1
    assert found[0] * width == pytest.approx(found[1] * height, abs=0.5 * max(width, height) + 1) or min(found) == 1


def test_photographs_lie_in_the_upper_left_and_their_edge_repeats(tmp_path: Path) -> None:
    canvases = Canvases(open_store(tmp_path / "store", (30, 60), (80, 40)), [0, 1], 40, CPU)
    assert canvases.sizes.tolist() == [[20, 40], [40, 20]]
    (wide, tall), *_ = canvases.batches([np.array([0, 1])])
    assert torch.equal(wide[:, 20:], wide[:, 19:20].expand(3, 20, 40))
    assert torch.equal(tall[:, :, 20:], tall[:, :, 19:20].expand(3, 40, 20))
    assert wide[0, 19, 0] > 235  # the last row of the photograph
    assert wide[1, 0, 39] > 235  # its last column
    assert tall[1, 0, 19] > 235


def test_windows_show_squares_of_the_photograph_and_nothing_beside_it(tmp_path: Path) -> None:
    canvases = Canvases(open_store(tmp_path / "store", (30, 60), (80, 40)), [0, 1], 60, CPU)
    rows = np.array([0, 1] * 60)
    (pixels,) = canvases.batches([rows])
    sizes = canvases.sizes[torch.from_numpy(rows)]
    windows = random_windows(pixels, sizes, 16, (0.5, 2.0), torch_generator(0, "test"))
    assert windows.shape == (120, 3, 16, 16)
    # Along the ramps, 250 levels are as long as the photograph's side; mirrored ones fall.
    down = (windows[:, 0, -1] - windows[:, 0, 0]).mean(1) / 250 * sizes[:, 0] * 16 / 15
    across = (windows[:, 1, :, -1] - windows[:, 1, :, 0]).mean(1) / 250 * sizes[:, 1] * 16 / 15
    torch.testing.assert_close(down, across.abs(), rtol=0.1, atol=1.0)
    assert down.min() > 16 / 2 * 0.85
    assert down.max() < min(30, 16 / 0.5) * 1.15
    assert 40 < int((across < 0).sum()) < 80  # half are mirrored
    torch.testing.assert_close(windows[:, 2], torch.full((120, 16, 16), 90.0))


def test_scales_are_uniform_within_their_bounds() -> None:
    pixels = torch.arange(40, dtype=torch.uint8).expand(600, 3, 40, 40)
    windows = random_windows(pixels, torch.full((600, 2), 40), 8, (0.5, 2.0), torch_generator(0, "test"))
    # A pixel from the rim, where the photograph may end.
    factors = 5 / (windows[:, 0, 0, -2] - windows[:, 0, 0, 1]).abs()
    assert 0.5 - 1e-3 <= float(factors.min()) < 0.53
    assert 1.97 < float(factors.max()) <= 2 + 1e-3
    assert float(factors.mean()) == pytest.approx(1.25, abs=0.06)


def test_the_generator_decides(tmp_path: Path) -> None:
    canvases = Canvases(open_store(tmp_path / "store", (30, 60)), [0], 40, CPU)
    (pixels,) = canvases.batches([np.zeros(5, np.int64)])
    sizes = canvases.sizes[torch.zeros(5, dtype=torch.int64)]
    first, again, other = (
        random_windows(pixels, sizes, 8, (0.5, 2.0), torch_generator(seed, "test")) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
