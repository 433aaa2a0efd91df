"""Which device a worker has, found out without importing torch."""

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


class NoDevice(Exception):
    pass


def find_device(asked: str) -> str:
    """`auto` becomes `cuda` where an NVIDIA driver shows a GPU, else `cpu`. Raises NoDevice where CUDA was asked for
    and there is none: better than a worker that fails every stage it claims."""
    if asked == "cpu":
        return asked
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if not hidden and (any(Path("/dev").glob("nvidia[0-9]*")) or gpu_name("cuda")):
        visible_gpu(asked, os.environ)
        return "cuda" if asked == "auto" else asked
    if asked != "auto":
        raise NoDevice(f"device {asked} was asked for, but no NVIDIA GPU is visible here")
    return "cpu"


def device_name(device: str) -> str | None:
    """What people call the device, where the machine tells."""
    return _cpu_name() if device == "cpu" else gpu_name(device)


def visible_gpu(device: str, environment: Mapping[str, str]) -> str | None:
    """CUDA_VISIBLE_DEVICES for a device: none at all for `cpu`, the Nth of what is visible for `cuda:N`, None (leave it
    as it is) for `cuda`."""
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return ""
    if not index:
        return None
    visible = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if not visible:
        return index
    if int(index) >= len(visible):
        raise NoDevice(f"device {device} was asked for, but only {len(visible)} GPUs are visible")
    return visible[int(index)]


def gpu_name(device: str) -> str | None:
    gpu = visible_gpu(device, os.environ) or visible_gpu(f"{device}:0", os.environ)
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, f"--id={gpu}", "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        log.warning("no_gpu_name", error=str(error))
        return None
    return answer.stdout.strip() or None


def _cpu_name() -> str | None:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None
