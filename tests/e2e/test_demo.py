"""`passdown demo`: one command, and its results lie there; nothing else is left."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import torch
import torchvision

from app.embedded.daemon import wait_gone
from tests.e2e.drawn import draw_images

FILES = {
    "alexnet.onnx",
    "alexnet.safetensors",
    "alexnet.torchvision.pth",
    "centroids.npy",
    "clusters.png",
    "conv1.png",
    "model_card.json",
    "preview.png",
    "pseudo_labels.parquet",
    "report.md",
}


def demo(workplace: Path, images: Path, name: str) -> subprocess.Popen[str]:
    folders = (
        "--images",
        str(images),
        "--out",
        str(workplace / name / "out"),
        "--data",
        str(workplace / name / "data"),
    )
    command = [sys.executable, "-m", "app.cli.main", "demo", "--minutes", "0.5", *folders]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


def test_the_results_lie_there_and_nothing_else_is_left(workplace: Path) -> None:
    draw_images(workplace / "two classes", per_class=40)
    process = demo(workplace, workplace / "two classes", "good")
    _, told = process.communicate()
    out, data = workplace / "good" / "out", workplace / "good" / "data"
    assert process.returncode == 0, told
    assert {path.name for path in out.iterdir()} == FILES
    report = (out / "report.md").read_text()
    assert set(re.findall(r"\]\((\w+\.png)\)", report)) == {"clusters.png", "conv1.png", "preview.png"}
    explained = re.findall(r"^`(.+)`:$", report, re.MULTILINE)
    assert explained == ["alexnet.safetensors", "alexnet.torchvision.pth", "alexnet.onnx"]
    assert list(data.iterdir()) == []
    classes = json.loads((out / "model_card.json").read_text())["classes"]
    alexnet = torchvision.models.alexnet(num_classes=classes)
    alexnet.load_state_dict(torch.load(out / "alexnet.torchvision.pth", weights_only=True), strict=True)
    for stage in ("ingest", "pretrain", "extract", "cluster", "label", "classify", "export", "evaluate", "report"):
        assert f"{stage}: succeeded\n" in told


def test_a_failure_is_told_with_its_reason_and_its_logs(workplace: Path) -> None:
    (workplace / "empty").mkdir()
    (workplace / "empty" / "broken.png").write_bytes(b"no picture")
    process = demo(workplace, workplace / "empty", "bad")
    printed, told = process.communicate()
    assert (process.returncode, printed) == (1, "")
    assert "error: the demo failed: run" in told
    assert "stage ingest: too_few_images" in told
    assert "--- worker\n" in told
    (folder,) = (workplace / "bad" / "data").iterdir()
    assert (folder / "logs" / "worker.log").is_file()


def test_a_signal_ends_it_and_leaves_nothing(workplace: Path) -> None:
    draw_images(workplace / "drawn", per_class=10)
    process = demo(workplace, workplace / "drawn", "ended")
    assert process.stderr is not None
    while "ingest: succeeded" not in process.stderr.readline():
        assert process.poll() is None
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 130
    assert all(wait_gone(one, 5) for one in started)
    assert list((workplace / "ended" / "data").iterdir()) == []
