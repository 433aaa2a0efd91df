"""Which device a worker has, found out without importing torch."""

import platform
import shutil
import subprocess
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


def find_device(asked: str) -> str:
    """`auto` becomes `cuda` where an NVIDIA driver shows a GPU, else `cpu`; anything else stays as asked."""
    if asked != "auto":
        return asked
    return "cuda" if any(Path("/dev").glob("nvidia[0-9]*")) or gpu_name("cuda") else "cpu"


def device_name(device: str) -> str | None:
    """What people call the device, where the machine tells."""
    return _cpu_name() if device == "cpu" else gpu_name(device)


def gpu_name(device: str) -> str | None:
    index = device.partition(":")[2] or "0"
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, f"--id={index}", "--query-gpu=name", "--format=csv,noheader"]
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
