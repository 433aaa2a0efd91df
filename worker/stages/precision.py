"""Which device trains, and in which arithmetic."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from worker.config.reasons import Reason
from worker.stages.contract import StageError

Precision = Literal["fp32", "bf16"]


def usable_device(name: str) -> torch.device:
    """The device called `name`; raises `StageError(device_unavailable)` where this machine has no such one."""
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise StageError(Reason.device_unavailable, f"The device {name} was asked for, but this machine has none.")
    return device


def resolved_precision(asked: Precision | Literal["auto"], device: torch.device) -> Precision:
    """`auto` is bf16 where the device has instructions for it, else fp32: emulated bf16 is slower than fp32."""
    if asked != "auto":
        return asked
    return "bf16" if _computes_bf16(device) else "fp32"


def _computes_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    return False


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def fast_arithmetic(device: torch.device) -> Iterator[None]:
    """TF32 and convolution search on CUDA while the context lasts; nothing on other devices."""
    if device.type != "cuda":
        yield
        return
    matmul, benchmark = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.benchmark = benchmark
