import subprocess
import sys

import pytest

from worker.celery_app import worker_queues
from worker.device import NoDevice, device_name, find_device


def test_a_machine_without_a_gpu_works_on_its_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide_gpus(monkeypatch)
    assert find_device("auto") == "cpu"
    with pytest.raises(NoDevice, match="cuda:1"):
        find_device("cuda:1")


def test_a_machine_with_a_gpu_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.device.gpu_name", lambda device: "NVIDIA H100")
    assert find_device("auto") == "cuda"
    assert find_device("cuda:1") == "cuda:1"
    assert find_device("cpu") == "cpu"


def test_a_gpu_beyond_those_that_are_visible_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.device.gpu_name", lambda device: "NVIDIA H100")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert find_device("cuda:1") == "cuda:1"
    with pytest.raises(NoDevice, match="only 2 GPUs"):
        find_device("cuda:2")


def test_the_cpu_has_a_name() -> None:
    assert device_name("cpu")


def test_an_unknown_device_is_refused_by_name() -> None:
    command = [sys.executable, "-m", "worker.main", "--device", "gpu0"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "cpu, cuda, cuda:N or auto" in refused.stderr


@pytest.mark.parametrize(("device", "kind"), [("cpu", "cpu"), ("cuda", "cuda"), ("cuda:3", "cuda")])
def test_a_worker_listens_for_its_kind_and_for_whoever_wants_any(device: str, kind: str) -> None:
    assert worker_queues(device) == ["passdown.any", f"passdown.{kind}"]


def _hide_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.device.gpu_name", lambda device: None)
    monkeypatch.setattr("pathlib.Path.glob", lambda path, pattern: iter(()))
