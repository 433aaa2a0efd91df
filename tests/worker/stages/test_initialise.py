from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from models.checkpoint import load_checkpoint
from models.config import Arch, BackboneConfig
from tests.worker.stages.feature_sets import small_store
from tests.worker.stages.networks import SMALL_ALEXNET, SMALL_VGG
from tests.worker.stages.striped import same_weights, weights
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.config.sources import InitialiseConfig
from worker.data.store import ImageStore
from worker.evaluation.contenders import untrained
from worker.stages.contract import StageError
from worker.stages.initialise import InitialiseInputs, InitialiseResult, run
from worker.stages.standalone import LocalContext


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return small_store(tmp_path / "store", 10, 64)


def initialise(store: ImageStore, out: Path, **config: object) -> InitialiseResult:
    asked = InitialiseConfig(**{"backbone": SMALL_ALEXNET, **config})
    return run(asked, InitialiseInputs(store=store.path), LocalContext(out))


@pytest.mark.parametrize("backbone", [SMALL_ALEXNET, SMALL_VGG])
def test_it_is_the_evaluation_s_untrained_network(tmp_path: Path, store: ImageStore, backbone: BackboneConfig) -> None:
    made = initialise(store, tmp_path / "out", backbone=backbone, seed=3).teacher
    record, network = load_checkpoint(made.path)
    assert (record.role, record.backbone, record.classes) == ("teacher", backbone, 0)
    assert record.training["untrained"]
    expected = untrained(record, 3).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in network.state_dict().items())


def test_the_crop_follows_the_store(tmp_path: Path, store: ImageStore) -> None:
    context = LocalContext(tmp_path / "out")
    made = run(InitialiseConfig(backbone=SMALL_ALEXNET), InitialiseInputs(store=store.path), context)
    assert isinstance(context.config, InitialiseConfig)
    assert context.config.crop == load_checkpoint(made.teacher.path)[0].crop == 57
    assert (made.teacher.kind, made.teacher.summary["dataset"]) == (ArtifactKind.checkpoint, store.digest)
    assert made.teacher.summary["photographs"] == store.photographs


def test_seeds_differ_and_repeat(tmp_path: Path, store: ImageStore) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = initialise(store, tmp_path / "a").teacher.path
    assert torch.equal(before, torch.get_rng_state())
    assert same_weights(first, initialise(store, tmp_path / "b").teacher.path)
    assert not same_weights(first, initialise(store, tmp_path / "c", seed=1).teacher.path)


def test_calibration_changes_nothing_but_the_statistics(tmp_path: Path, store: ImageStore) -> None:
    plain = weights(initialise(store, tmp_path / "plain").teacher.path)
    found = weights(initialise(store, tmp_path / "calibrated", calibrate=True).teacher.path)
    changed = {key for key in plain if not torch.equal(plain[key], found[key])}
    assert changed
    assert {key.rpartition(".")[2] for key in changed} <= {"running_mean", "running_var", "num_batches_tracked"}


def test_calibrated_maps_of_the_store_s_images_are_standardised(tmp_path: Path, store: ImageStore) -> None:
    """Before its affine part the first normalisation sees mean 0 and variance 1 on the very images it was shown."""
    made = initialise(store, tmp_path / "out", calibrate=True, crop=56).teacher.path
    record, network = load_checkpoint(made)
    images = torch.from_numpy(np.array(store.images[:, 4:60, 4:60])).permute(0, 3, 1, 2)
    with torch.no_grad():
        normalised = network.features[1](network.features[0](record.pixels.apply(images)))
    torch.testing.assert_close(normalised.mean((0, 2, 3)), torch.zeros(normalised.shape[1]), atol=1e-3, rtol=0)
    torch.testing.assert_close(normalised.var((0, 2, 3)), torch.ones(normalised.shape[1]), atol=1e-2, rtol=0)


def test_what_can_not_be_made_is_refused(tmp_path: Path, store: ImageStore) -> None:
    with pytest.raises(StageError, match="`crop` is 65, but the stored images have 64") as caught:
        initialise(store, tmp_path / "out", crop=65)
    assert caught.value.reason is Reason.images_too_small
    with pytest.raises(ValidationError, match="needs norm 'batch'"):
        InitialiseConfig(backbone=BackboneConfig(arch=Arch.alexnet, norm="lrn"), calibrate=True)
