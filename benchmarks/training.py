"""Images per second of the teacher's and the student's training, fp32 beside bf16; prints JSON.

`python -m benchmarks.training --preset demo --device cpu`. `examples_share` is the part of a step that making the
puzzles, or the crops, takes. Steps of all four trainings alternate, and the quickest of each counts, so that a busy
machine favours none.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from worker.config.base import DatasetFacts
from worker.config.classify import ClassifyConfig
from worker.config.presets import Preset, preset_config
from worker.config.pretrain import PretrainConfig
from worker.data.loader import read_batch
from worker.data.store import ImageStore, write_store
from worker.pretext.tasks import pretext_task
from worker.stages.classify import ClusterTask
from worker.stages.precision import Precision, fast_arithmetic, resolved_precision, usable_device
from worker.stages.pretrain import PretextTraining
from worker.stages.pseudo_labels import PseudoLabels, Split
from worker.stages.stepper import Stepper
from worker.stages.task import Indices, TrainingTask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", type=Preset, choices=list(Preset), default=Preset.demo)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, help="images per step; the preset's if left out")
    parser.add_argument("--clusters", type=int, default=300)
    arguments = parser.parse_args()
    device = usable_device(arguments.device)
    with tempfile.TemporaryDirectory() as folder, fast_arithmetic(device):
        trainings = _trainings(_store(Path(folder)), arguments, device)
        for _ in range(arguments.steps + 2):
            for training in trainings.values():
                training.step()
    report = {
        "preset": arguments.preset,
        "device": arguments.device,
        "threads": torch.get_num_threads(),
        "auto_precision": resolved_precision("auto", device),
        "trainings": {name: training.report() for name, training in trainings.items()},
    }
    print(json.dumps(report, indent=2))


class Training:
    """A training whose steps are timed, on one batch that is on the device already."""

    def __init__(
        self,
        task: TrainingTask,
        config: PretrainConfig | ClassifyConfig,
        precision: Precision,
        batch: int,
        device: torch.device,
    ) -> None:
        task.network.to(device).to(memory_format=torch.channels_last)
        self._task = task
        self._stepper = Stepper(task, task.network, config.schedule, precision, seed=0)
        self._indices: Indices = np.arange(batch)
        self._images = read_batch(task.store, self._indices, task.side).to(device)
        self._whole = self._examples = float("inf")

    def step(self) -> None:
        self._examples = min(self._examples, self._timed(lambda: self._task.examples(self._images, self._indices, 0)))
        self._whole = min(self._whole, self._timed(lambda: self._stepper.step(self._images, self._indices, 0, 1e-4)))

    def report(self) -> dict[str, float]:
        return {
            "images_per_second": len(self._indices) / self._whole,
            "examples_share": self._examples / self._whole,
        }

    def _timed(self, work: Callable[[], object]) -> float:
        self._wait()
        started = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        if self._images.is_cuda:
            torch.cuda.synchronize(self._images.device)


def _store(folder: Path) -> ImageStore:
    images = np.random.default_rng(0).integers(0, 256, (256, 256, 256, 3), np.uint8)
    write_store(folder, images, [f"{index:03}.png" for index in range(256)], [None] * 256)
    return ImageStore.open(folder)


def _trainings(store: ImageStore, arguments: argparse.Namespace, device: torch.device) -> dict[str, Training]:
    preset = preset_config(arguments.preset)
    facts = DatasetFacts(image_count=store.count, side=store.side)
    pretrain, classify = preset.pretrain.resolved(facts), preset.classify.resolved(facts)
    labels = PseudoLabels(np.arange(store.count) % arguments.clusters, arguments.clusters)
    split = Split(trained=np.arange(store.count), held_out=np.arange(0))
    found = {}
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    for precision in precisions:
        teacher = PretextTraining(pretrain, store, pretext_task(pretrain))
        student = ClusterTask(classify, store, labels, split)
        sizes = [arguments.batch or config.schedule.batch for config in (pretrain, classify)]
        found[f"teacher_{precision}"] = Training(teacher, pretrain, precision, sizes[0], device)
        found[f"student_{precision}"] = Training(student, classify, precision, sizes[1], device)
    return found


if __name__ == "__main__":
    main()
