"""What making the examples of each pretext task costs beside training on them; prints a Markdown table, writes JSON.

`python -m benchmarks.pretexts` takes a minute or two; `--device cuda --arch vgg16 --width 1 --side 256 --batch 256` a
real setting. A step makes the examples, runs the network forwards and backwards, and updates it; `bare` is forwards and
backwards alone, on ready examples. The steps of all tasks alternate and medians count, so that a busy machine favours
none. The target is a share of making below 10 % of the step on a CPU. Memory is the largest of a process that trains
this task alone.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from models.config import BackboneConfig
from worker.config.base import DatasetFacts
from worker.config.pretext import AnyPretext
from worker.config.pretrain import PretrainConfig
from worker.config.schedule import TrainingSchedule
from worker.data.loader import read_batch
from worker.data.store import ImageStore, write_store
from worker.pretext.tasks import pretext_task
from worker.stages.contract import StageError
from worker.stages.precision import Precision, autocast, fast_arithmetic, resolved_precision, usable_device
from worker.stages.pretrain import PretextTraining
from worker.stages.randomness import torch_generator
from worker.stages.standalone import LocalContext
from worker.stages.stepper import Stepper, as_float

PRETEXTS = {str(pretext().task): pretext for pretext in get_args(get_args(AnyPretext)[0])}
TARGET = 0.1
MEMORY_STEPS = 3


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        store = _store(Path(folder), arguments)
        if arguments.memory_of:
            print(json.dumps({"peak_mib": _peak_mib(arguments.memory_of, store, arguments)}))
            return
        report = _report(store, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    print(_table(report))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--arch", default="alexnet")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--conv1-stride", type=int, choices=[2, 4], default=2, help="AlexNet only")
    parser.add_argument("--side", type=int, default=96, help="of the stored images, pixels")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="fp32")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tasks", nargs="+", choices=list(PRETEXTS), default=list(PRETEXTS))
    parser.add_argument("--json", type=Path, help="where the report goes as JSON")
    parser.add_argument("--memory-of", choices=list(PRETEXTS), help="only measure this task's memory")
    return parser.parse_args()


class Training:
    """A task whose parts are timed on one batch that is on the device already."""

    def __init__(self, task: str, store: ImageStore, arguments: argparse.Namespace) -> None:
        """Raises `StageError` where the task doesn't take the network."""
        device = usable_device(arguments.device)
        config = _config(task, store, arguments)
        self._pretext = pretext_task(config)
        with tempfile.TemporaryDirectory() as folder:
            self._pretext.prepare(store, LocalContext(Path(folder)))
        self._network = self._pretext.network.to(device).to(memory_format=torch.channels_last)
        self._precision: Precision = resolved_precision(arguments.precision, device)
        training = PretextTraining(config, store, self._pretext)
        self._stepper = Stepper(training, self._network, config.schedule, self._precision, seed=0)
        self._indices = np.arange(arguments.batch)
        self._images = read_batch(store, self._indices, training.side).to(device)
        self._ready = self._pretext.make(self._images, torch_generator(0, "benchmark"))
        self._seconds: dict[str, list[float]] = {"making": [], "bare": [], "step": []}

    def round(self) -> None:
        parts = {"making": self._make, "bare": self._bare, "step": self.step}
        for name, part in parts.items():
            self._seconds[name].append(self._timed(part))

    def report(self, warm_up: int) -> dict[str, float]:
        making, bare, step = (statistics.median(times[warm_up:]) for times in self._seconds.values())
        return {
            "images_per_second": len(self._indices) / step,
            "bare_images_per_second": len(self._indices) / bare,
            "making_seconds": making,
            "making_share": making / step,
        }

    def step(self) -> None:
        self._stepper.step(self._images, self._indices, len(self._seconds["step"]), 1e-4)

    def _make(self) -> None:
        self._pretext.make(self._images, torch_generator(0, "benchmark", len(self._seconds["making"])))

    def _bare(self) -> None:
        self._network.train()
        with autocast(self._precision, self._images.device):
            outputs = as_float(self._network(*self._ready.inputs))
        loss = self._pretext.score(outputs, self._ready.targets).loss
        self._network.zero_grad()
        torch.autograd.backward(loss)

    def _timed(self, work: Callable[[], None]) -> float:
        self._wait()
        started = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        if self._images.is_cuda:
            torch.cuda.synchronize(self._images.device)


def _config(task: str, store: ImageStore, arguments: argparse.Namespace) -> PretrainConfig:
    config = PretrainConfig(
        backbone=_backbone(arguments),
        pretext=PRETEXTS[task](),
        schedule=TrainingSchedule(epochs=1, batch=arguments.batch, precision=arguments.precision),
    )
    return config.resolved(DatasetFacts(image_count=store.count, side=store.side))


def _backbone(arguments: argparse.Namespace) -> BackboneConfig:
    if ":" in arguments.arch:
        return BackboneConfig(arch=arguments.arch)
    return BackboneConfig(arch=arguments.arch, width=arguments.width, conv1_stride=arguments.conv1_stride)


def _store(folder: Path, arguments: argparse.Namespace) -> ImageStore:
    """Patches of 8 pixels in colours at random: photographs aren't needed, grey would spare tasks some work."""
    side, count = arguments.side, arguments.batch
    patches = np.random.default_rng(0).integers(0, 256, (count, -(-side // 8), -(-side // 8), 3), np.uint8)
    images = patches.repeat(8, 1).repeat(8, 2)[:, :side, :side]
    write_store(folder, images, [f"{index:05}.png" for index in range(count)], [None] * count)
    return ImageStore.open(folder)


def _report(store: ImageStore, arguments: argparse.Namespace) -> dict[str, object]:
    device = usable_device(arguments.device)
    trainings: dict[str, Training] = {}
    left_out: dict[str, str] = {}
    with fast_arithmetic(device):
        for task in arguments.tasks:
            try:
                trainings[task] = Training(task, store, arguments)
            except StageError as error:
                left_out[task] = str(error)
        for _ in range(arguments.rounds + 1):
            for training in trainings.values():
                training.round()
    tasks = {task: training.report(warm_up=1) for task, training in trainings.items()}
    del trainings
    memory = {task: _peak_of_its_own_process(task) for task in tasks}
    shown = ("device", "side", "batch", "rounds")
    network = _backbone(arguments)
    return {
        "network": network.told + (f", conv1 stride {network.conv1_stride}" if network.is_alexnet else ""),
        **{name: getattr(arguments, name) for name in shown},
        "precision": resolved_precision(arguments.precision, device),
        "threads": torch.get_num_threads(),
        "target_share": TARGET,
        "tasks": {task: {**found, "peak_mib": memory[task]} for task, found in tasks.items()},
        "left_out": left_out,
    }


def _peak_of_its_own_process(task: str) -> float:
    command = [sys.executable, "-m", "benchmarks.pretexts", *sys.argv[1:], "--memory-of", task]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(answer.stdout)["peak_mib"])


def _peak_mib(task: str, store: ImageStore, arguments: argparse.Namespace) -> float:
    """Of the GPU's memory, what tensors took; else of the process, its code included (Linux)."""
    device = usable_device(arguments.device)
    with fast_arithmetic(device):
        training = Training(task, store, arguments)
        for _ in range(MEMORY_STEPS):
            training.step()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # Not `getrusage`: it counts what the process was before it became this program.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 2**10


def _table(report: dict[str, object]) -> str:
    tasks, left_out = report["tasks"], report["left_out"]
    assert isinstance(tasks, dict)
    assert isinstance(left_out, dict)
    rows = [
        f"| {task} | {found['images_per_second']:.1f} | {found['bare_images_per_second']:.1f} "
        f"| {1000 * found['making_seconds']:.1f} | {found['making_share']:.1%} | {found['peak_mib']:,.0f} |"
        for task, found in tasks.items()
    ]
    settings = ", ".join(f"{name} {value}" for name, value in report.items() if name not in ("tasks", "left_out"))
    head = "| task | train images/s | bare forward and backward, images/s | making a batch, ms | its share | peak MiB |"
    lines = [settings, "", head, "|---|--:|--:|--:|--:|--:|", *rows]
    return "\n".join([*lines, *(f"\n{task} is left out: {why}" for task, why in left_out.items())])


if __name__ == "__main__":
    main()
