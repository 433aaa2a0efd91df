from pathlib import Path

import pytest
import torch

from tests.worker.stages.striped import striped_images, striped_store
from worker.data.store import ImageStore
from worker.pretext import sample
from worker.pretext.sample import sampled_images
from worker.stages.contract import Stopped
from worker.stages.standalone import LocalContext


def _sampled(store: ImageStore, folder: Path, seed: int = 0) -> torch.Tensor:
    return torch.cat(list(sampled_images(store, 32, seed, LocalContext(folder / "work"))))


def test_a_small_dataset_is_looked_at_as_a_whole(tmp_path: Path) -> None:
    store = ImageStore.open(striped_store(tmp_path / "store", 70, 32))
    found = _sampled(store, tmp_path)
    assert torch.equal(found, torch.from_numpy(striped_images(70, 32)).permute(0, 3, 1, 2))


def test_of_a_large_one_a_sample_that_the_seed_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "SAMPLE", 10)
    store = ImageStore.open(striped_store(tmp_path / "store", 100, 32))
    first = _sampled(store, tmp_path)
    assert first.shape == (10, 3, 32, 32)
    assert len({bytes(image.numpy().tobytes()) for image in first}) == 10
    assert torch.equal(first, _sampled(store, tmp_path))
    assert not torch.equal(first, _sampled(store, tmp_path, seed=1))


def test_it_stops_when_asked_to(tmp_path: Path) -> None:
    store = ImageStore.open(striped_store(tmp_path / "store", 4, 32))
    with pytest.raises(Stopped):
        list(sampled_images(store, 32, 0, LocalContext(tmp_path / "work", stop_after=0)))
