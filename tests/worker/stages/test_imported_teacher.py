"""A network of torchvision, brought along as safetensors, through all stages that a teacher meets."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import resnet18
from torchvision.models.feature_extraction import create_feature_extractor

from models.config import BackboneConfig
from models.pixels import ImagenetPixels
from tests.worker.stages.networks import SMALL_ALEXNET, write_network
from worker.clustering.features import FeatureSet
from worker.config.cluster import ClusterConfig
from worker.config.evaluate import EvaluateConfig
from worker.config.export import ExportConfig, ImportWeightsConfig
from worker.config.extract import ExtractConfig
from worker.config.label import LabelConfig
from worker.config.probe import LabelSplit, LinearProtocol, NonlinearProtocol, ProbeConfig
from worker.config.reasons import Reason
from worker.config.scores import ScoreSheet
from worker.data.store import ImageStore, write_store
from worker.evaluation.record import Evaluation
from worker.pictures.filters import first_filters
from worker.stages import cluster, evaluate, export, extract, import_weights, label, probe
from worker.stages.contract import StageError
from worker.stages.frozen import opened_checkpoint
from worker.stages.standalone import LocalContext

SIDE, CROP = 70, 64
RESNET = BackboneConfig(arch="torchvision:resnet18")


@dataclass(frozen=True)
class Brought:
    network: torch.nn.Module
    store: ImageStore
    teacher: Path
    features: Path


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory) -> Brought:
    """Bright and dark images; a resnet18 with random weights, imported; its layer3."""
    folder = tmp_path_factory.mktemp("brought")
    rng = np.random.default_rng(0)
    bright = np.arange(40) % 2 == 0
    images = np.where(bright, 160, 0)[:, None, None, None] + rng.integers(0, 90, (40, SIDE, SIDE, 3))
    labels: list[str | None] = ["bright" if is_bright else "dark" for is_bright in bright]
    write_store(folder / "store", images.astype(np.uint8), [f"{index:03}.png" for index in range(40)], labels)
    torch.manual_seed(0)
    network = resnet18(num_classes=7).eval()
    (folder / "upload").mkdir()
    save_file(network.state_dict(), folder / "upload" / "mine.safetensors")
    config = ImportWeightsConfig(backbone=RESNET, crop=CROP)
    inputs = import_weights.ImportWeightsInputs(upload=folder / "upload")
    teacher = import_weights.run(config, inputs, LocalContext(folder / "import")).checkpoint.path
    store = ImageStore.open(folder / "store")
    features = extracted(folder / "extract", store, teacher, tap="layer3", dtype="fp32")
    return Brought(network, store, teacher, features)


def extracted(folder: Path, store: ImageStore, teacher: Path, **config: object) -> Path:
    asked = ExtractConfig.model_validate({"crop": CROP, "precision": "fp32", **config})
    inputs = extract.ExtractInputs(store=store.path, teacher=teacher)
    return extract.run(asked, inputs, LocalContext(folder)).features.path


def test_features_are_those_of_torchvision_s_own_network(brought: Brought) -> None:
    features = FeatureSet.open(brought.features)
    images = torch.from_numpy(np.array(brought.store.images[:, 3:67, 3:67])).permute(0, 3, 1, 2)
    with torch.no_grad():
        maps = create_feature_extractor(brought.network, ["layer3"])(ImagenetPixels().apply(images))["layer3"]
    assert (features.facts.tap, features.facts.shape) == ("layer3", (256, 4, 4))
    np.testing.assert_allclose(features.matrix, maps.flatten(1), rtol=1e-3, atol=1e-4)


def test_its_clusters_become_pseudo_labels(tmp_path: Path, brought: Brought) -> None:
    given = cluster.ClusterInputs(features=brought.features)
    centroids = cluster.run(ClusterConfig(k=2), given, LocalContext(tmp_path / "cluster")).centroids.path
    inputs = label.LabelInputs(store=brought.store.path, features=brought.features, centroids=centroids)
    made = label.run(LabelConfig(), inputs, LocalContext(tmp_path / "label")).labels.path
    found = np.load(made / "labels.npy")
    assert len(set(found[::2])) == len(set(found[1::2])) == 1
    assert found[0] != found[1]


def test_a_tap_it_does_not_have_is_refused_with_those_it_has(tmp_path: Path, brought: Brought) -> None:
    with pytest.raises(StageError, match=r"no map called conv4; it has conv1, bn1, .*layer3, .*layer4") as caught:
        extracted(tmp_path / "extract", brought.store, brought.teacher, tap="conv4")
    assert caught.value.reason is Reason.bad_config


def test_linear_probes_judge_its_modules(tmp_path: Path, brought: Brought) -> None:
    protocol = LinearProtocol(taps=("layer2", "layer4"), epochs=5, seeds=(0,), split=LabelSplit(holdout=0.3))
    inputs = probe.ProbeInputs(store=brought.store.path, checkpoint=brought.teacher)
    made = probe.run(ProbeConfig(protocol=protocol), inputs, LocalContext(tmp_path)).evaluation.path
    sheet = ScoreSheet.model_validate_json((made / "evaluation.json").read_text())
    assert {tap: cell.value for tap, cell in sheet.cells.items()} == {"layer2": 1.0, "layer4": 1.0}
    assert sheet.trunk_unchanged
    assert any("torchvision:resnet18" in deviation for deviation in sheet.deviations)


@pytest.mark.parametrize(
    ("protocol", "sentence"),
    [
        (LinearProtocol(), r"no map called conv2, conv3, conv4, conv5; it has conv1, .*layer4"),
        (NonlinearProtocol(), r"whose layers lie in a row.* is torchvision:resnet18"),
    ],
)
def test_probes_that_do_not_fit_it_say_so(
    tmp_path: Path, brought: Brought, protocol: LinearProtocol | NonlinearProtocol, sentence: str
) -> None:
    inputs = probe.ProbeInputs(store=brought.store.path, checkpoint=brought.teacher)
    with pytest.raises(StageError, match=sentence) as caught:
        probe.run(ProbeConfig(protocol=protocol), inputs, LocalContext(tmp_path))
    assert caught.value.reason is Reason.bad_config


def test_a_comparison_by_the_student_s_maps_leaves_it_out(tmp_path: Path, brought: Brought) -> None:
    student = write_network(tmp_path / "student", SMALL_ALEXNET, role="student")
    context = LocalContext(tmp_path / "out")
    inputs = evaluate.EvaluateInputs(store=brought.store.path, student=student, teacher=brought.teacher)
    config = EvaluateConfig(taps=("conv2", "conv5"), probe_epochs=2, knn=3)
    made = evaluate.run(config, inputs, context).evaluation.path
    found = Evaluation.model_validate_json((made / "evaluation.json").read_text())
    assert list(found.networks) == ["random", "random_calibrated", "student"]
    assert "The teacher, a torchvision:resnet18, takes no part: it has no conv2, conv5." in context.messages


def test_it_is_exported_under_torchvision_s_names(tmp_path: Path, brought: Brought) -> None:
    student = write_network(tmp_path / "student", SMALL_ALEXNET, role="student")
    inputs = export.ExportInputs(student=student, teacher=brought.teacher)
    made = export.run(ExportConfig(formats=("safetensors",)), inputs, LocalContext(tmp_path / "out")).weights.path
    weights = load_file(made / "teacher.safetensors")
    own = brought.network.state_dict()
    assert set(own) - set(weights) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, own[key]) for key, value in weights.items())


def test_its_first_filters_are_shown(brought: Brought) -> None:
    filters = first_filters(opened_checkpoint(brought.teacher)[1])
    assert filters is not None
    assert np.array_equal(filters[5], brought.network.state_dict()["conv1.weight"][5].permute(1, 2, 0))
