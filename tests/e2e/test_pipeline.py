"""From a folder of images to weights that plain PyTorch loads, through the real service, as its users see it."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pyarrow.parquet
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file

from app.client.client import PassdownClient
from app.client.models import Run
from tests.e2e.conftest import CLUSTERS, SIDE, TINY, serve
from tests.e2e.drawn import draw_images

STAGES = ["pretrain", "extract", "cluster", "label", "classify", "export", "evaluate", "report"]


@dataclass(frozen=True)
class Finished:
    client: PassdownClient
    run: Run
    images: int
    files: Path


@pytest.fixture(scope="module")
def finished(workplace: Path) -> Iterator[Finished]:
    """One run of the whole pipeline, which all tests here look at."""
    count = draw_images(workplace / "images")
    files = workplace / "files"
    files.mkdir()
    service = serve(workplace / "service", workplace / "images")
    try:
        with service.client() as client:
            client.register_folder("drawn", "data", ".", {"side": SIDE})
            run = client.create_run("drawn", preset="demo", config=TINY, name="tiny")
            run = client.wait(run.id)
            assert run.state == "succeeded", client.logs(run.id)
            yield Finished(client, run, count, files)
    finally:
        service.stop()


def test_every_stage_succeeded_at_its_first_attempt(finished: Finished) -> None:
    assert [stage.name for stage in finished.run.stages] == STAGES
    assert {(stage.state, stage.attempt_no) for stage in finished.run.stages} == {("succeeded", 1)}
    assert all(stage.progress.done == stage.progress.total for stage in finished.run.stages)


def test_the_classes_were_found_but_only_for_the_evaluation(finished: Finished) -> None:
    dataset = finished.client.dataset("drawn")
    assert dataset.state == "ready"
    summary = (dataset.model_extra or {})["summary"]
    assert (summary["count"], summary["classes"]) == (finished.images, ["discs", "stripes"])


def test_no_stored_config_holds_an_auto(finished: Finished) -> None:
    for stage in finished.run.stages:
        config = (stage.model_extra or {})["config"]
        left = [path for path, value in leaves(config) if value == "auto"]
        assert not left, f"{stage.name}: {left}"


def test_the_events_tell_the_whole_story_once(finished: Finished) -> None:
    events = list(finished.client.follow("tiny"))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].type == "run.succeeded"
    assert [event.data["stage"] for event in events if event.type == "stage.succeeded"] == STAGES
    assert list(finished.client.follow("tiny", after=len(events))) == []


def test_torchvision_loads_the_weights_strictly(finished: Finished) -> None:
    target = finished.files / "alexnet.torchvision.pth"
    finished.client.download_weights("tiny", "torchvision", target)
    alexnet = torchvision.models.alexnet(num_classes=CLUSTERS).eval()
    alexnet.load_state_dict(torch.load(target, weights_only=True), strict=True)
    assert alexnet(torch.zeros(1, 3, 224, 224)).shape == (1, CLUSTERS)


def test_onnxruntime_and_torch_agree(finished: Finished) -> None:
    onnx, safetensors = finished.files / "alexnet.onnx", finished.files / "alexnet.safetensors"
    finished.client.download_weights("tiny", "onnx", onnx)
    finished.client.download_weights("tiny", "safetensors", safetensors)
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    images = torch.randn(2, 3, *given.shape[2:], generator=torch.Generator().manual_seed(0))
    alexnet = torchvision.models.alexnet(num_classes=CLUSTERS).eval()
    alexnet.load_state_dict(load_file(safetensors))
    (logits,) = session.run(None, {given.name: images.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(logits, alexnet(images).numpy(), atol=1e-4)


def test_a_download_goes_on_from_any_byte(finished: Finished) -> None:
    url = f"{finished.client.url}/runs/tiny/weights?format=safetensors"
    with httpx.Client(follow_redirects=True) as http:
        whole = http.get(url)
        digest = whole.headers["ETag"].strip('"')
        rest = http.get(url, headers={"Range": "bytes=1000-", "If-Range": f'"{digest}"'})
        changed = http.get(url, headers={"Range": "bytes=1000-", "If-Range": '"other"'})
    assert hashlib.sha256(whole.content).hexdigest() == digest
    assert rest.status_code == 206
    assert whole.content[:1000] + rest.content == whole.content
    assert (changed.status_code, len(changed.content)) == (200, len(whole.content))


def test_each_image_has_one_of_the_clusters(finished: Finished) -> None:
    target = finished.files / "labels.parquet"
    finished.client.download_labels(finished.run.artifact("pseudo_label_set").id, "parquet", target)
    table = pyarrow.parquet.read_table(target)
    assert table.num_rows == finished.images
    assert set(table["label"].to_pylist()) == set(range(CLUSTERS))
    assert all(path.split("/")[0] in ("discs", "stripes") for path in table["path"].to_pylist())


def test_the_clusters_can_be_looked_at(finished: Finished) -> None:
    clustering = finished.run.artifact("centroids").id
    found = httpx.get(f"{finished.client.url}/clusterings/{clustering}/clusters/0").json()
    png = httpx.get(finished.client.url + found["nearest"][0]["image"])
    assert png.headers["Content-Type"] == "image/png"
    sheet = finished.files / "clusters.png"
    finished.client.download("/runs/tiny/report/clusters.png", sheet)
    assert Image.open(sheet).width > 4 * 32


def test_the_model_card_leads_back_to_the_images(finished: Finished) -> None:
    target = finished.files / "model_card.json"
    finished.client.download_weights("tiny", "model_card", target)
    card = json.loads(target.read_text())
    dataset = (finished.client.dataset("drawn").model_extra or {})["summary"]
    assert dataset["digest"] in json.dumps(card)


def test_the_report_compares_the_three_networks(finished: Finished) -> None:
    target = finished.files / "report.md"
    finished.client.download("/runs/tiny/report/report.md", target)
    words = target.read_text().lower()
    missing = [network for network in ("untrained", "teacher", "student") if network not in words]
    assert not missing, words


def test_the_same_work_is_not_done_twice(finished: Finished) -> None:
    again = finished.client.wait(finished.client.create_run("drawn", preset="demo", config=TINY).id)
    assert again.state == "succeeded"
    assert {stage.reason for stage in again.stages} == {"reused"}
    assert {artifact.id for artifact in again.artifacts} == {artifact.id for artifact in finished.run.artifacts}


def test_another_k_trains_no_teacher_anew(finished: Finished) -> None:
    config = {**TINY, "cluster": {"k": 3, "iterations": 5}, "classify": {**TINY["classify"], "head": {"width": 16}}}
    run = finished.client.wait(finished.client.create_run("drawn", preset="demo", config=config).id)
    assert run.state == "succeeded"
    assert [stage.name for stage in run.stages if stage.reason == "reused"] == ["pretrain", "extract"]


def leaves(config: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(config, dict):
        for key, value in config.items():
            yield from leaves(value, f"{path}.{key}")
    else:
        yield path, config
