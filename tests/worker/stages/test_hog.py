import json
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.color import rgb2gray
from skimage.feature import hog as skimage_hog

from tests.worker.stages.feature_sets import small_store
from tests.worker.stages.striped import striped_store
from worker.clustering.features import FeatureSet
from worker.config.cluster import ClusterConfig
from worker.config.label import LabelConfig
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.config.sources import HogConfig
from worker.data.store import ImageStore
from worker.stages import cluster, label
from worker.stages.contract import StageError, Stopped
from worker.stages.hog import HogInputs, HogResult, run
from worker.stages.standalone import LocalContext

COUNT, SIDE = 12, 64


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return striped_store(tmp_path / "store", COUNT, SIDE)


def config(**changed: object) -> HogConfig:
    return HogConfig(**{"words": 8, "sample": 1000, "crop": 56, **changed})


def describe(store: Path, out: Path, codebook: Path | None = None, **changed: object) -> HogResult:
    return run(config(**changed), HogInputs(store=store, codebook=codebook), LocalContext(out))


def test_rows_are_the_square_roots_of_word_counts(tmp_path: Path, store: Path) -> None:
    """Against scikit-image's blocks and a plain count of their nearest words, image by image."""
    made = describe(store, tmp_path / "out", dtype="fp32", pyramid=(1,)).features
    words = np.load(made.path / "codebook.npy")
    for pixels, row in zip(ImageStore.open(store).images, FeatureSet.open(made.path).matrix, strict=True):
        blocks = skimage_hog(rgb2gray(pixels[4:60, 4:60]), 9, (8, 8), (2, 2)).reshape(-1, 36)
        nearest = ((blocks[:, None] - words[None]) ** 2).sum(2).argmin(1)
        counts = np.bincount(nearest, minlength=8)
        np.testing.assert_allclose(row, np.sqrt(counts / counts.sum()), atol=1e-3)


def test_facts_and_shapes(tmp_path: Path, store: Path) -> None:
    context = LocalContext(tmp_path / "out")
    made = run(HogConfig(words=8, sample=1000), HogInputs(store=store), context).features
    features = FeatureSet.open(made.path)
    assert made.kind is ArtifactKind.feature_set
    assert features.matrix.shape == (COUNT, 8 * (1 + 4))
    assert (features.facts.tap, features.facts.shape, features.facts.dtype) == ("hog", (40, 1, 1), "fp16")
    assert (features.facts.side, features.facts.crop) == (64, 56)
    assert isinstance(context.config, HogConfig)
    assert (context.config.side, context.config.crop) == (64, 56)
    assert context.done == (COUNT, COUNT, "images")
    np.testing.assert_allclose(np.linalg.norm(features.matrix.astype(float), axis=1), 1, atol=1e-2)


def test_the_same_seed_gives_the_same_bytes_and_another_another_codebook(tmp_path: Path, store: Path) -> None:
    one, other = (describe(store, tmp_path / name).features.path for name in "ab")
    assert (one / "features.npy").read_bytes() == (other / "features.npy").read_bytes()
    anew = describe(store, tmp_path / "anew", seed=1).features.path
    assert (anew / "codebook.npy").read_bytes() != (one / "codebook.npy").read_bytes()


def test_a_stopped_description_goes_on_where_it_stopped(tmp_path: Path, store: Path) -> None:
    whole = describe(store, tmp_path / "whole", batch=2, iterations=3).features.path
    first = LocalContext(tmp_path / "first", stop_after=12)
    with pytest.raises(Stopped):
        run(config(batch=2, iterations=3), HogInputs(store=store), first)
    assert first.done is not None
    assert 0 < first.done[0] < COUNT
    assert first.done[2] == "images"
    second = LocalContext(tmp_path / "second", resume_from=first.workdir)
    made = run(config(batch=2, iterations=3), HogInputs(store=store), second).features.path
    for name in ("features.npy", "codebook.npy", "features.json"):
        assert (made / name).read_bytes() == (whole / name).read_bytes()
    assert sorted(path.name for path in made.iterdir()) == ["codebook.npy", "features.json", "features.npy"]


def test_clusters_of_bags_label_another_dataset_with_the_same_words(tmp_path: Path) -> None:
    store = small_store(tmp_path / "noise", COUNT, SIDE).path
    features = describe(store, tmp_path / "features").features.path
    given = cluster.ClusterInputs(features=features)
    centroids = cluster.run(ClusterConfig(k=2), given, LocalContext(tmp_path / "clusters")).centroids.path
    other = small_store(tmp_path / "other", 5, SIDE).path
    described = describe(other, tmp_path / "described", codebook=features).features.path
    inputs = label.LabelInputs(store=other, features=described, centroids=centroids)
    made = label.run(LabelConfig(), inputs, LocalContext(tmp_path / "labels")).labels
    assert made.summary["count"] == 5
    told = json.loads((made.path / "labels.json").read_text())["features"]
    assert (told["tap"], told["checkpoint"]["role"]) == ("hog", "hog")
    alone = describe(other, tmp_path / "alone").features.path
    with pytest.raises(StageError, match="another network"):
        label.run(LabelConfig(), inputs.model_copy(update={"features": alone}), LocalContext(tmp_path / "none"))


@pytest.mark.parametrize(
    ("changed", "reason", "sentence"),
    [
        ({"side": 65}, Reason.images_too_small, "the stored images have 64 px"),
        ({"crop": 65}, Reason.bad_config, "can't be cut from images of 64"),
        ({"cell": 30}, Reason.bad_config, "holds 0 x 0 blocks of 2 cells"),
        ({"pyramid": (1, 7)}, Reason.bad_config, "too few for a pyramid of 7 parts"),
        ({"words": 700}, Reason.k_too_large, "choose fewer `words`"),
    ],
)
def test_what_can_not_be_described_is_refused(
    tmp_path: Path, store: Path, changed: dict[str, object], reason: Reason, sentence: str
) -> None:
    with pytest.raises(StageError, match=sentence) as caught:
        describe(store, tmp_path / "out", **changed)
    assert caught.value.reason is reason


def test_words_of_other_settings_are_refused(tmp_path: Path, store: Path) -> None:
    features = describe(store, tmp_path / "features").features.path
    with pytest.raises(StageError, match="made with other settings") as caught:
        describe(store, tmp_path / "out", codebook=features, orientations=8)
    assert caught.value.reason is Reason.bad_config


def test_it_draws_nothing_from_the_global_generator(tmp_path: Path, store: Path) -> None:
    before = torch.get_rng_state()
    describe(store, tmp_path / "out")
    assert torch.equal(before, torch.get_rng_state())
