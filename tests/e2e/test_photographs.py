"""A checkpoint judged on annotated photographs, through the real service."""

import json
import shutil
from pathlib import Path

import httpx
import pytest
import torch

from app.client.client import PassdownClient
from models.backbone import build_backbone
from models.config import Arch, BackboneConfig
from tests.e2e.conftest import Served
from tests.worker.data.devkit import drawn_devkit

BACKBONE = BackboneConfig(arch=Arch.alexnet, width=0.125, norm="batch", conv1_stride=2)
SHORT = {"iterations": 2, "batch": 2, "width": 16, "lr": 0.001, "train_set": "train", "test_set": "val"}


@pytest.fixture
def photographs(served: Served) -> Path:
    """A devkit below the service's root, with one image that is broken."""
    folder = served.images / "VOCdevkit"
    shutil.rmtree(folder, ignore_errors=True)
    one, other = drawn_devkit(folder)
    other.sets({"Segmentation/train": ["a", "b"], "Main/val": ["c"]})
    one.file("JPEGImages/3.jpg", b"\xff\xd8broken")
    return folder


@pytest.fixture
def client(served: Served) -> PassdownClient:
    return served.client()


def imported_network(client: PassdownClient, folder: Path) -> str:
    """The id of an untrained network's checkpoint."""
    torch.save(build_backbone(BACKBONE).state_dict(), folder / "net.pth")
    upload = client.upload(folder / "net.pth")
    body = {"name": "net", "upload": upload.id, "backbone": json.loads(BACKBONE.model_dump_json()), "crop": 67}
    run = httpx.post(f"{client.url}/checkpoints", json=body).raise_for_status().json()
    run_id = run.get("run") or run["id"]
    assert client.wait(str(run_id)).state == "succeeded"
    return "net"


def test_photographs_are_registered_and_a_network_is_judged_on_them(
    client: PassdownClient, photographs: Path, tmp_path: Path
) -> None:
    client.register_folder("photographs", "data", photographs.name, layout="voc")
    dataset = client.wait_for_dataset("photographs")
    assert dataset.state == "ready", dataset.detail
    problems = httpx.get(f"{client.url}/datasets/photographs/problems").json()["items"]
    assert [problem["path"] for problem in problems] == ["VOC2007/JPEGImages/3.jpg"]
    checkpoint = imported_network(client, tmp_path)
    protocols = [{"protocol": "voc_segmentation", **SHORT}, {"protocol": "voc_classification", "crop": 67, **SHORT}]
    for run in client.evaluate(checkpoint, "photographs", protocols):
        ended = client.wait(run.id)
        assert ended.state == "succeeded", client.logs(run.id)
    found = {one.sheet["protocol"]: one for one in client.evaluations()}
    assert found["voc_segmentation"].sheet["cells"]["segm"]["n"] == 1
    assert found["voc_classification"].sheet["metric"] == "mAP"
    assert {one.dataset for one in found.values()} == {"photographs"}
