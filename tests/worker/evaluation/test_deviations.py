from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import CheckpointRecord
from models.config import Arch, BackboneConfig
from models.pixels import ImagenetPixels
from tests.worker.stages.feature_sets import small_store
from worker.config.probe import AnyProbe, ClusterProtocol, LinearProtocol, NonlinearProtocol, RetrievalProtocol
from worker.data.store import ImageStore
from worker.evaluation.deviations import deviations, images_seen, labels_seen, left_out
from worker.evaluation.split import ProbeSplit
from worker.evaluation.subject import Subject
from worker.evaluation.taps import View
from worker.stages.standalone import LocalContext

PAPERS = BackboneConfig(arch=Arch.alexnet, norm="lrn")


def told(path: Path, protocol: AnyProbe, classes: int, view: View, backbone: BackboneConfig = PAPERS) -> list[str]:
    record = CheckpointRecord(role="student", backbone=backbone, crop=view.crop, pixels=ImagenetPixels(), classes=0)
    store, context = small_store(path / "store", 4), LocalContext(path / "work")
    subject = Subject(store, path, record, view, torch.device("cpu"), "fp32", 8, context)
    split = ProbeSplit(np.arange(4), np.arange(4) % 2, np.arange(4) > 2, list(range(classes)), {})
    return list(deviations(protocol, subject, split))


def test_the_paper_s_own_setting_differs_only_in_the_training_and_the_images(tmp_path: Path) -> None:
    found = told(tmp_path, LinearProtocol(), 1000, View(256, 227))
    assert len(found) == 3
    assert found[0] == "3 images teach and 1 judge, parted by the md5 of their path."
    assert found[1].startswith("30 epochs over one centre crop of each image")
    assert "iases" not in found[1]
    assert found[2].startswith("Batch norm without affine uses the statistics of all teaching images")


def test_whatever_else_differs_is_told(tmp_path: Path) -> None:
    small = BackboneConfig(arch=Arch.alexnet, width=0.5, conv1_stride=2)
    found = told(tmp_path, LinearProtocol(resize="average", max_dims=2304), 10, View(96, 84), small)
    assert found[0] == "Images of 96 pixels seen through a crop of 84; the paper has 256 and 227."
    assert found[1] == "10 classes; the paper's datasets have 1000 and 205."
    assert "The network is alexnet at 0.5 of its width with stride 2 in conv1 with batch norm" in found[3]
    assert found[-2] == "Maps are averaged to their smaller size; the published probes interpolate."
    assert found[-1] == "Maps are resized to at most 2304 values; the paper's have 9216 to 9600."


def test_nonlinear_probes_tell_their_width_and_their_crops(tmp_path: Path) -> None:
    found = told(tmp_path, NonlinearProtocol(crops=1), 1000, View(256, 227))
    assert "New fully connected layers have 1024 outputs; the paper's have 4096." in found
    assert "One crop of each image is judged; the paper averages ten." in found
    assert found[-1].startswith("20 epochs of batches of 64 from a rate of 0.02 along a half cosine; the paper has")


def test_protocols_without_a_table_of_the_paper_deviate_from_nothing(tmp_path: Path) -> None:
    for number, protocol in enumerate((RetrievalProtocol(), ClusterProtocol())):
        assert told(tmp_path / str(number), protocol, 10, View(96, 84)) == []


def test_classes_that_are_left_out_are_named_with_their_images(tmp_path: Path) -> None:
    store = small_store(tmp_path / "store", 4, labels=["ant", "bee", "bee", "cat"])
    split = ProbeSplit(np.arange(1, 4), np.array([0, 0, 1]), np.array([True, False, False]), [1, 2], {0: 1})
    found = deviations(LinearProtocol(), judged(tmp_path, store, {}), split)
    assert "Classes with too few images to teach or to judge are left out: ant (1)." in found


@pytest.mark.parametrize(("holdout", "seen"), [(0, 2), (1 - 1e-9, 0)])
def test_judging_images_whose_labels_were_taught_are_counted(tmp_path: Path, holdout: float, seen: int) -> None:
    store = small_store(tmp_path / "store", 4)
    training = {"dataset": store.digest, "class_labels_holdout": holdout}
    split = ProbeSplit(np.arange(4), np.arange(4) % 2, np.arange(4) > 1, [0, 1], {})
    sentence = "The network was taught the labels of 2 of the 2 images that judge it."
    assert labels_seen(judged(tmp_path, store, training), split) == ((sentence,) if seen else ())
    assert labels_seen(judged(tmp_path, store, {**training, "dataset": "another"}), split) == ()
    assert labels_seen(judged(tmp_path, store, {"dataset": store.digest}), split) == ()
    elsewhere = judged(tmp_path, store, {**training, "dataset": "another", "photographs": store.photographs})
    assert labels_seen(elsewhere, split) == (
        "The network was taught labels of the same photographs in another store: where their paths are the same, "
        f"those of {seen} of the 2 images that judge it.",
    )


def test_judging_images_that_were_learnt_without_labels_are_told(tmp_path: Path) -> None:
    store = small_store(tmp_path / "store", 4)
    split = ProbeSplit(np.arange(4), np.arange(4) % 2, np.arange(4) > 1, [0, 1], {})
    own = {"dataset": store.digest, "images_seen": 400}
    sentence = "The 2 images that judge are of the dataset that the network learnt from without labels."
    assert images_seen(judged(tmp_path, store, own), split) == (sentence,)
    assert images_seen(judged(tmp_path, store, own), None) == ()
    stored_otherwise: dict[str, object] = {**own, "dataset": "another", "photographs": store.photographs}
    assert images_seen(judged(tmp_path, store, stored_otherwise), split) == (sentence,)
    others = {"dataset": "another", "photographs": "others"}
    for other in ({"dataset": "another"}, others, {"images_seen": 0}, {"class_labels_holdout": 0.1}):
        assert images_seen(judged(tmp_path, store, own | other), split) == ()


def judged(path: Path, store: ImageStore, training: dict[str, object]) -> Subject:
    record = CheckpointRecord(
        role="student", backbone=PAPERS, crop=60, pixels=ImagenetPixels(), classes=2, training=training
    )
    return Subject(store, path, record, View(60, 60), torch.device("cpu"), "fp32", 8, LocalContext(path / "work"))


def test_columns_that_can_t_be_had_are_named() -> None:
    asked = NonlinearProtocol(columns=("conv5", "fc6", "fc7"))
    assert left_out(asked, ["conv5"]) == ("Left out, because the checkpoint has no such layers: fc6, fc7.",)
    assert left_out(asked, ["conv5", "fc6", "fc7"]) == ()
