"""Every method through the real service at a tiny size, and what can be done with what they made."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from app.client.client import PassdownClient
from app.client.models import Run
from models.load import load_alexnet, load_backbone
from tests.e2e.conftest import CLUSTERS, SIDE, TINY, serve
from tests.e2e.drawn import draw_images

NARROW = {"arch": "alexnet", "width": 0.125, "norm": "batch", "conv1_stride": 2}
STUDENT = {"backbone": NARROW, "side": SIDE, "crop": 88, "schedule": {"epochs": 1, "batch": 8}}

CONFIG: dict[str, Any] = {
    **TINY,
    "initialise": {"backbone": NARROW},
    "hog": {"side": SIDE, "words": 16, "sample": 2000, "iterations": 3},
    "classify": {**STUDENT, "head": {"width": 16}},
    "regress": STUDENT,
    "export": {"formats": ["safetensors"]},
    "evaluate": {"probe_epochs": 1, "holdout": 0.4, "taps": ["conv4"]},
}
"""The tiny run with a narrow student as well."""


@dataclass(frozen=True)
class Service:
    client: PassdownClient
    folder: Path

    def finished(self, dataset: str = "drawn", **fields: Any) -> Run:  # noqa: ANN401 (whatever POST /runs takes)
        run = self.client.create_run(dataset, **{"preset": "demo", "config": CONFIG, **fields})
        run = self.client.wait(run.id)
        assert run.state == "succeeded", (run.detail, self.client.logs(run.id))
        return run

    def weights(self, run: Run) -> Path:
        target = self.folder / f"{run.id}.safetensors"
        self.client.download_weights(run.id, "safetensors", target)
        return target


def roles(run: Run) -> dict[str, str]:
    return {str(artifact.role): artifact.id for artifact in run.artifacts}


@pytest.fixture(scope="module")
def service(workplace: Path) -> Iterator[Service]:
    draw_images(workplace / "images" / "first")
    draw_images(workplace / "images" / "second", per_class=9, side=100)
    files = workplace / "files"
    files.mkdir()
    serving = serve(workplace / "service", workplace / "images")
    try:
        with serving.client() as client:
            client.register_folder("drawn", "data", "first", {"side": SIDE})
            client.register_folder("others", "data", "second", {"side": SIDE})
            yield Service(client, files)
    finally:
        serving.stop()


@pytest.mark.parametrize("method", ["cc+hog", "cc+random", "supervised", "regression"])
def test_a_method_ends_with_an_alexnet(service: Service, method: str) -> None:
    run = service.finished(method=method, name=method.replace("+", "-"))
    assert all(stage.progress.done == stage.progress.total for stage in run.stages)
    if method == "regression":
        assert load_backbone(service.weights(run)).tap_channels["conv4"] == 48
    else:
        classes = 2 if method == "supervised" else CLUSTERS
        assert load_alexnet(service.weights(run)).head.classes == classes


def test_the_pretext_method_ends_with_a_network_that_can_be_judged(service: Service) -> None:
    run = service.finished(method="pretext")
    assert [stage.name for stage in run.stages] == ["pretrain"]
    assert run.artifact("checkpoint").role == "teacher"


def test_centres_of_one_dataset_label_another(service: Service) -> None:
    """Table 2: clustering on A, pseudo-labels on B, by A's teacher."""
    made = roles(service.finished(stages=["initialise", "extract", "cluster"]))
    given = {"teacher": made["teacher"], "centroids": made["centroids"]}
    run = service.finished("others", stages=["extract", "label"], inputs=given)
    target = service.folder / "others.parquet"
    service.client.download_labels(run.artifact("pseudo_label_set").id, "parquet", target)
    table = pyarrow.parquet.read_table(target)
    assert table.num_rows == 18
    assert set(table["label"].to_pylist()) <= set(range(CLUSTERS))
    assert np.isfinite(table["distance"].to_pylist()).all()


def test_words_and_centres_of_one_dataset_label_another(service: Service) -> None:
    made = roles(service.finished(stages=["hog", "cluster"]))
    given = {"codebook": made["features"], "centroids": made["centroids"]}
    run = service.finished("others", stages=["hog", "label"], inputs=given)
    assert run.artifact("pseudo_label_set").role == "labels"


def test_a_student_becomes_the_teacher(service: Service) -> None:
    """Iterated transfer: the first student's features are clustered, and a second one learns those."""
    student = roles(service.finished(stages=["initialise", "extract", "cluster", "label", "classify"]))["student"]
    again = service.finished(stages=["extract", "cluster", "label", "classify"], inputs={"teacher": student})
    assert [stage.reason for stage in again.stages] == [None] * 4
    assert roles(again)["student"] != student


def test_a_sweep_over_k_extracts_once(service: Service) -> None:
    config = {**CONFIG, "initialise": {**CONFIG["initialise"], "seed": 5}}
    runs = service.client.create_sweep(
        "drawn", [2, 3, 5], config=config, preset="demo", stages=["initialise", "extract", "cluster"]
    )
    ended = [service.client.wait(run.id) for run in runs]
    assert {run.state for run in ended} == {"succeeded"}
    for name, worked in (("initialise", 1), ("extract", 1), ("cluster", 3)):
        reasons = [stage.reason for run in ended for stage in run.stages if stage.name == name]
        assert reasons.count(None) == worked, (name, reasons)
