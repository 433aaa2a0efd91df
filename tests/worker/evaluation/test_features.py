from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.checkpoint import load_checkpoint
from tests.worker.stages.feature_sets import small_store
from tests.worker.stages.networks import write_network
from worker.data.loader import read_batch
from worker.data.store import ImageStore
from worker.evaluation.features import MappedFeatures, ResidentFeatures, StoredFeatures, compute_features
from worker.evaluation.probe import standardised, train_probes
from worker.evaluation.resize import resized
from worker.evaluation.taps import View, tap_shapes
from worker.stages.frozen import FrozenNetwork

CPU = torch.device("cpu")
VIEW = View(70, 64)
IMAGES = np.arange(1, 40, 2)


class RecomputedFeatures:
    """No cache at all: the network runs again for whatever rows are asked for."""

    def __init__(self, network: FrozenNetwork, store: ImageStore, tap: str, side: int, dim: int) -> None:
        self.count, self.dim, self.device, self.rows_on = len(IMAGES), dim, CPU, CPU
        self._network, self._store, self._tap, self._side = network, store, tap, side

    def take(self, rows: Tensor) -> Tensor:
        pixels = read_batch(self._store, IMAGES[rows.numpy()], VIEW.side)
        return resized(self._network.taps(pixels, [self._tap], VIEW.crop)[self._tap], self._side, "bilinear").clone()


class Given:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = small_store(path / "store", 40, 70)
        self.record, backbone = load_checkpoint(write_network(path / "network", role="student"))
        self.network = FrozenNetwork(backbone, self.record.pixels, CPU, "fp32")
        self.shapes = tap_shapes(self.record.backbone, ["conv2", "conv4"], VIEW.crop, 300)
        self.batches = 0

    def _after_batch(self) -> None:
        self.batches += 1

    def computed(self, resident_bytes: int | None = None) -> dict[str, StoredFeatures]:
        return compute_features(
            *(self.network, self.store, IMAGES, VIEW, self.shapes, "bilinear", 8, self.path / "files", CPU),
            *(self._after_batch, resident_bytes),
        )


@pytest.fixture
def given(tmp_path: Path) -> Given:
    return Given(tmp_path)


def test_rows_are_the_resized_maps_of_the_images_in_order(given: Given) -> None:
    features = given.computed()
    assert given.batches == 3
    pixels = read_batch(given.store, IMAGES, VIEW.side)
    for tap, maps in given.network.taps(pixels, ["conv2", "conv4"], VIEW.crop).items():
        direct = resized(maps, given.shapes[tap][1], "bilinear")
        np.testing.assert_allclose(features[tap].matrix(), direct, rtol=1e-4, atol=1e-5)
        rows = torch.tensor([3, 3, 0])
        np.testing.assert_array_equal(features[tap].take(rows), features[tap].matrix()[[3, 3, 0]])


def test_what_doesn_t_fit_into_memory_goes_to_files_with_the_same_values(given: Given) -> None:
    memory = given.computed()
    one_fits = 4 * len(IMAGES) * memory["conv2"].dim
    files = given.computed(one_fits)
    assert [type(files[tap]) for tap in ("conv2", "conv4")] == [ResidentFeatures, MappedFeatures]
    assert sorted(path.name for path in (given.path / "files").iterdir()) == ["conv4"]
    for tap in ("conv2", "conv4"):
        np.testing.assert_array_equal(memory[tap].matrix(), files[tap].matrix())


def test_probes_on_cached_features_are_those_on_features_computed_anew_for_every_batch(given: Given) -> None:
    labels, rows = torch.arange(20) % 3, torch.arange(14)
    cached = given.computed()["conv4"]
    again = RecomputedFeatures(given.network, given.store, "conv4", given.shapes["conv4"][1], cached.dim)
    scores = []
    for features in (cached, again):
        seen = standardised(features, rows)
        probes = train_probes(seen, rows, labels[rows], 3, 2, (0, 1))
        scores.append(probes.scores(seen, torch.arange(14, 20)))
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-3, atol=1e-3)
    assert torch.equal(scores[0].argmax(2), scores[1].argmax(2))
