import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.client.client import PassdownClient
from app.embedded.ports import free_port

SIDE = 96
CLUSTERS = 4

TINY: dict[str, Any] = {
    "pretrain": {
        "backbone": {"arch": "alexnet", "width": 0.125, "norm": "batch", "conv1_stride": 2},
        "pretext": {
            "side": 64,
            "crop": 60,
            "tile": 16,
            "jitter": 3,
            "channel_jitter": 1,
            "permutations": 10,
            "head": {"fc6": 16, "fc7": 32},
        },
        "schedule": {"epochs": 2, "batch": 8},
    },
    "extract": {"side": SIDE, "crop": 88},
    "cluster": {"k": CLUSTERS, "iterations": 5},
    "classify": {"side": SIDE, "crop": 88, "schedule": {"epochs": 1, "batch": 8}},
    "export": {"formats": ["safetensors", "torchvision", "onnx"]},
    "evaluate": {"probe_epochs": 2, "holdout": 0.4},
    "report": {"clusters": CLUSTERS, "images_per_cluster": 4},
}
"""The demo preset's shape in seconds: a narrow teacher, but the whole AlexNet as the student."""

HASTE = {
    "PASSDOWN_HEARTBEAT_SECONDS": "0.5",
    "PASSDOWN_LEASE_SECONDS": "5",
    "PASSDOWN_SWEEP_SECONDS": "0.5",
    "PASSDOWN_RETRY_SECONDS": "0.2",
}
"""Lost leases and failed attempts are noticed within seconds."""


@dataclass
class Served:
    """A `passdown serve` of its own, with folder `images` as its root `data`."""

    process: subprocess.Popen[str]
    url: str
    folder: Path
    images: Path

    def client(self) -> PassdownClient:
        return PassdownClient(self.url)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(120)


def serve(folder: Path, images: Path, port: int | None = None) -> Served:
    """Start it, and wait for the line that says it is up."""
    command = [sys.executable, "-m", "app.cli.main", "serve", "--data", str(folder), "--root", f"data={images}"]
    process = subprocess.Popen(
        [*command, "--port", str(port or free_port()), "--device", "cpu"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | HASTE,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.search(r"up at (\S+)", line)
    assert found, line + process.stderr.read()
    return Served(process, found[1], folder, images)


@pytest.fixture(scope="module")
def workplace() -> Iterator[Path]:
    """Where PostgreSQL's own user may go as well, when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="passdown-e2e-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def served(workplace: Path) -> Iterator[Served]:
    images = workplace / "images"
    images.mkdir(exist_ok=True)
    service = serve(workplace / uuid.uuid4().hex, images)
    yield service
    if service.process.poll() is None:
        service.stop()
