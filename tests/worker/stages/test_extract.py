import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import load_checkpoint
from models.config import Arch, BackboneConfig
from tests.worker.stages.feature_sets import small_store
from tests.worker.stages.networks import SMALL_ALEXNET, SMALL_VGG, write_network
from worker.clustering.features import FeatureSet
from worker.config.extract import ExtractConfig
from worker.config.reasons import Reason
from worker.data.store import ImageStore, write_store
from worker.stages.contract import StageError, Stopped
from worker.stages.extract import ExtractInputs, ExtractResult, pooled_rows, run
from worker.stages.feature_rows import stored
from worker.stages.standalone import LocalContext

SIDE = 80


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return small_store(tmp_path / "store", 10, SIDE)


def extract(store: ImageStore, teacher: Path, context: LocalContext, **config: object) -> ExtractResult:
    return run(ExtractConfig(**config), ExtractInputs(store=store.path, teacher=teacher), context)


def test_features_are_the_pooled_maps_of_the_centre_crop(tmp_path: Path, store: ImageStore) -> None:
    teacher = write_network(tmp_path / "teacher")
    made = extract(store, teacher, LocalContext(tmp_path / "out"), dtype="fp32", precision="fp32", crop=70, pool=3)
    record, backbone = load_checkpoint(teacher)
    images = torch.from_numpy(np.array(store.images[:, 5:75, 5:75])).permute(0, 3, 1, 2)
    with torch.no_grad():
        maps = backbone.eval().taps(record.pixels.apply(images), ["conv4"])["conv4"]
    direct = torch.nn.functional.adaptive_max_pool2d(maps, 3)
    features = FeatureSet.open(made.features.path)
    np.testing.assert_allclose(features.matrix, direct.flatten(1), rtol=1e-4, atol=1e-5)
    assert features.facts.shape == tuple(direct.shape[1:])
    assert features.matrix.min() >= 0


def test_a_row_is_flattened_channel_by_channel() -> None:
    maps = torch.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2).float()
    assert pooled_rows(maps, 2)[1].tolist() == list(range(12, 24))
    assert pooled_rows(maps, 1)[0].tolist() == [3, 7, 11]


def test_maps_may_be_averaged_instead() -> None:
    maps = torch.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2).float()
    assert pooled_rows(maps, 1, "average")[0].tolist() == [1.5, 5.5, 9.5]


def test_an_image_and_its_mirror_image_may_share_one_row(tmp_path: Path, store: ImageStore) -> None:
    teacher = write_network(tmp_path / "teacher")
    settings = {"dtype": "fp32", "precision": "fp32", "crop": 70, "pool": 2, "pooling": "average"}
    alone = extract(store, teacher, LocalContext(tmp_path / "alone"), **settings).features
    both = extract(store, teacher, LocalContext(tmp_path / "both"), mirror=True, **settings).features
    turned = np.ascontiguousarray(store.images[:, :, ::-1])
    write_store(tmp_path / "turned", turned, store.paths, [None] * store.count)
    mirrored = extract(ImageStore.open(tmp_path / "turned"), teacher, LocalContext(tmp_path / "m"), **settings).features
    mean = (FeatureSet.open(alone.path).matrix + FeatureSet.open(mirrored.path).matrix) / 2
    np.testing.assert_allclose(FeatureSet.open(both.path).matrix, mean, rtol=1e-4, atol=1e-5)
    assert (both.summary["mirror"], both.summary["pooling"]) == (True, "average")


def test_fp16_is_limited_to_its_finite_range() -> None:
    maps = torch.tensor([1e9, -1e9, 0.5]).reshape(1, 3, 1, 1)
    assert stored(pooled_rows(maps, 1), "fp16").tolist() == [[65504, -65504, 0.5]]


@pytest.mark.parametrize(("arch", "crop", "shape"), [(Arch.alexnet, 227, (384, 5, 5)), (Arch.vgg16, 224, (512, 4, 4))])
def test_the_paper_s_shapes(tmp_path: Path, arch: Arch, crop: int, shape: tuple[int, int, int]) -> None:
    store = small_store(tmp_path / "store", 1, 256)
    teacher = write_network(tmp_path / "teacher", BackboneConfig(arch=arch))
    made = extract(store, teacher, LocalContext(tmp_path / "out"), crop=crop)
    features = FeatureSet.open(made.features.path)
    assert features.facts.shape == shape
    assert features.matrix.shape == (1, {5: 9600, 4: 8192}[shape[1]])
    assert features.matrix.dtype == np.float16


def test_nothing_stays_auto(tmp_path: Path, store: ImageStore) -> None:
    context = LocalContext(tmp_path / "out")
    extract(store, write_network(tmp_path / "teacher", SMALL_VGG), context)
    assert isinstance(context.config, ExtractConfig)
    assert (context.config.side, context.config.crop, context.config.pool) == (80, 70, 4)
    assert context.config.precision in ("fp32", "bf16")
    assert context.done == (10, 10, "images")


def test_images_are_resized_to_the_side_asked_for(tmp_path: Path, store: ImageStore) -> None:
    context = LocalContext(tmp_path / "out")
    made = extract(store, write_network(tmp_path / "teacher", SMALL_VGG), context, side=64)
    facts = json.loads((made.features.path / "features.json").read_text())
    assert (facts["side"], facts["crop"]) == (64, 56)


def test_an_alexnet_may_look_with_another_stride(tmp_path: Path, store: ImageStore) -> None:
    teacher = write_network(tmp_path / "teacher", SMALL_ALEXNET.model_copy(update={"conv1_stride": 2}))
    made = extract(store, teacher, LocalContext(tmp_path / "a"), conv1_stride=4, pool=1, tap="conv1")
    trained = extract(store, teacher, LocalContext(tmp_path / "b"), pool=1, tap="conv1")
    assert made.features.summary["conv1_stride"] == 4
    assert trained.features.summary["conv1_stride"] == 2
    assert not np.array_equal(FeatureSet.open(made.features.path).matrix, FeatureSet.open(trained.features.path).matrix)


def test_a_stopped_extraction_goes_on_where_it_stopped(tmp_path: Path, store: ImageStore) -> None:
    teacher = write_network(tmp_path / "teacher")
    whole = extract(store, teacher, LocalContext(tmp_path / "whole"), batch=2).features.path
    first = LocalContext(tmp_path / "first", stop_after=1)
    with pytest.raises(Stopped):
        extract(store, teacher, first, batch=2)
    assert first.done == (4, 10, "images")
    second = LocalContext(tmp_path / "second", resume_from=first.workdir, stop_after=0)
    with pytest.raises(Stopped):
        extract(store, teacher, second, batch=2)
    assert second.done == (6, 10, "images")
    third = LocalContext(tmp_path / "third", resume_from=second.workdir)
    made = extract(store, teacher, third, batch=2).features.path
    for name in ("features.npy", "features.json"):
        assert (made / name).read_bytes() == (whole / name).read_bytes()
    assert sorted(path.name for path in made.iterdir()) == ["features.json", "features.npy"]


def test_rows_of_another_network_are_not_taken_over(tmp_path: Path, store: ImageStore) -> None:
    first = LocalContext(tmp_path / "first", stop_after=1)
    with pytest.raises(Stopped):
        extract(store, write_network(tmp_path / "a", seed=1), first, batch=2)
    teacher = write_network(tmp_path / "b", seed=2)
    resumed = LocalContext(tmp_path / "resumed", resume_from=first.workdir)
    made = extract(store, teacher, resumed, batch=2).features.path
    fresh = extract(store, teacher, LocalContext(tmp_path / "fresh"), batch=2).features.path
    assert (made / "features.npy").read_bytes() == (fresh / "features.npy").read_bytes()


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"crop": 81}, "crop of 81 pixels can't be cut from images of 80"),
        ({"pool": 30}, r"it can't be pooled to 30 x 30"),
        ({"conv1_stride": 2}, "is for AlexNet teachers"),
    ],
)
def test_what_can_not_be_computed_is_refused(
    tmp_path: Path, store: ImageStore, config: dict[str, int], sentence: str
) -> None:
    teacher = write_network(tmp_path / "teacher", SMALL_VGG)
    with pytest.raises(StageError, match=sentence) as caught:
        extract(store, teacher, LocalContext(tmp_path / "out"), **config)
    assert caught.value.reason is Reason.bad_config


def test_broken_weights_are_refused(tmp_path: Path, store: ImageStore) -> None:
    teacher = write_network(tmp_path / "teacher")
    (teacher / "model.pt").write_bytes(b"not weights")
    with pytest.raises(StageError) as caught:
        extract(store, teacher, LocalContext(tmp_path / "out"))
    assert caught.value.reason is Reason.artifact_corrupt
