"""What a CUDA device must show: the same puzzles as a CPU, a training that learns and resumes, the same clusters."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import load_checkpoint
from tests.worker.stages.striped import puzzle_config, striped_images, striped_store
from worker.clustering.nearest import NearestCentre
from worker.data.loader import BatchLoader, read_batch
from worker.data.resident import resident_images
from worker.data.store import ImageStore
from worker.pretext.permutations import make_permutations
from worker.pretext.puzzles import JigsawMaker
from worker.stages.contract import Stopped
from worker.stages.pretrain import PretrainInputs, run
from worker.stages.randomness import torch_generator
from worker.stages.standalone import LocalContext

pytestmark = pytest.mark.gpu


def test_puzzles_are_those_of_the_cpu() -> None:
    images = torch.from_numpy(striped_images(8, 48)).permute(0, 3, 1, 2)
    table = torch.from_numpy(make_permutations(8, 5).table)
    maker = JigsawMaker(puzzle_config().pretext, table)
    on_cpu = maker.make(images, torch_generator(0, "puzzles", 1))
    on_cuda = maker.make(images.cuda(), torch_generator(0, "puzzles", 1))
    assert torch.equal(on_cpu.labels, on_cuda.labels.cpu())
    torch.testing.assert_close(on_cpu.tiles, on_cuda.tiles.cpu(), rtol=0, atol=1e-4)


def test_batches_arrive_whole_and_in_order(tmp_path: Path) -> None:
    store = ImageStore.open(striped_store(tmp_path / "store", 32, 48))
    chosen = [np.arange(start, start + 8) for start in (0, 16, 8)]
    with BatchLoader(store, chosen, 48, "cuda") as loader:
        for indices, batch in zip(chosen, loader, strict=True):
            assert torch.equal(batch.cpu(), read_batch(store, indices, 48))


def test_a_training_learns_and_its_teacher_loads_on_a_cpu(tmp_path: Path) -> None:
    store = striped_store(tmp_path / "store", 64, 48)
    config = puzzle_config(epochs=30, batch=16, lr=0.1, shape="cosine")
    teacher = run(config, PretrainInputs(store=store), LocalContext(tmp_path / "work", "cuda")).teacher
    assert teacher.summary["loss"] < 0.7 * teacher.summary["chance_loss"]
    _, backbone = load_checkpoint(teacher.path)
    assert backbone(torch.zeros(1, 3, 36, 36)).isfinite().all()


def test_a_stopped_training_goes_on(tmp_path: Path) -> None:
    inputs = PretrainInputs(store=striped_store(tmp_path / "store", 32, 48))
    config = puzzle_config(epochs=4, batch=16)
    with pytest.raises(Stopped):
        run(config, inputs, LocalContext(tmp_path / "first", "cuda", stop_after=3))
    second = LocalContext(tmp_path / "second", "cuda", resume_from=tmp_path / "first")
    assert run(config, inputs, second).teacher.summary["steps"] == 8
    assert any("Resumed after step 3" in message for message in second.messages)


def test_nearest_centres_are_those_of_the_cpu() -> None:
    rng = np.random.default_rng(0)
    points, centres = rng.normal(size=(500, 32)).astype(np.float32), rng.normal(size=(20, 32)).astype(np.float32)
    found = []
    for device in ("cpu", "cuda"):
        search = NearestCentre(32, device)
        search.place(centres)
        found.append(search.find(points)[0])
    assert np.array_equal(*found)


def test_images_that_fit_lie_on_the_device_and_are_those_of_the_store(tmp_path: Path) -> None:
    store = ImageStore.open(striped_store(tmp_path / "store", 20, 48))
    for side, apart in ((48, 0), (36, 1)):
        kept = resident_images(store, side, torch.device("cuda"))
        assert kept is not None
        expected = read_batch(store, np.arange(20), side).permute(0, 2, 3, 1)
        assert (kept.cpu().int() - expected.int()).abs().max() <= apart
        assert resident_images(store, side, torch.device("cuda")) is kept
