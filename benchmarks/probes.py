"""Seconds for the linear probes of all five maps in one pass, beside five evaluations of one map each; prints JSON.

`python -m benchmarks.probes --images 2000 --side 96 --crop 84 --width 0.5 --device cpu`. One pass runs the network once
over the images and trains the probes of all maps and seeds on what it keeps; the five evaluations run the network
again for each map, as one script per layer would. `reuse` is what kept features spare: seconds of probing once more
(other seeds, other epochs) with the features at hand, beside the seconds with the network run again for them.
Noise serves as images, for speed doesn't depend on what they show; `--store` names a store of real ones.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.backbone import build_backbone
from models.checkpoint import CheckpointRecord, save_checkpoint
from models.config import Arch, BackboneConfig
from models.pixels import ImagenetPixels
from worker.config.probe import TAPS, LabelSplit, LinearProtocol, ProbeConfig
from worker.data.store import write_store
from worker.stages.probe import ProbeInputs, run
from worker.stages.standalone import LocalContext

DEFAULTS = {"images": 2000, "side": 96, "crop": 84, "classes": 10, "seeds": 3, "epochs": 30, "max-dims": 9600}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--width", type=float, default=1.0, help="of the AlexNet")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--store", type=Path, help="a labelled image store in place of noise")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench(Path(folder), arguments)
        bench.seconds(TAPS[:1], max_images=64)  # the first run of anything is slow
        together = bench.seconds(TAPS)
        apart: dict[str, dict[str, float]] = {tap: bench.seconds((tap,)) for tap in TAPS}
    print(json.dumps(_report(arguments, together, apart), indent=2))


class _Bench:
    """The stage `probe` on one store and one network."""

    def __init__(self, folder: Path, arguments: argparse.Namespace) -> None:
        self._folder = folder
        self._arguments = arguments
        self._runs = 0
        self._store = arguments.store or _noise(folder / "store", arguments)
        self._checkpoint = _network(folder / "network", arguments)

    def seconds(self, taps: tuple[str, ...], max_images: int | None = None) -> dict[str, float]:
        asked = self._arguments
        self._runs += 1
        protocol = LinearProtocol(
            taps=taps,
            max_dims=asked.max_dims,
            epochs=asked.epochs,
            seeds=tuple(range(asked.seeds)),
            split=LabelSplit(rule="md5-mod-10", max_images=max_images),
        )
        context = LocalContext(self._folder / f"run{self._runs}", asked.device)
        inputs = ProbeInputs(store=self._store, checkpoint=self._checkpoint)
        facts = run(ProbeConfig(protocol=protocol), inputs, context).evaluation.summary["facts"]
        return {**facts["seconds"], "all": facts["seconds_in_all"]}


def _noise(path: Path, arguments: argparse.Namespace) -> Path:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (arguments.images, arguments.side, arguments.side, 3), dtype=np.uint8)
    labels = [str(index % arguments.classes) for index in range(arguments.images)]
    write_store(path, images, [f"{index:06}.png" for index in range(arguments.images)], labels)
    return path


def _network(path: Path, arguments: argparse.Namespace) -> Path:
    torch.manual_seed(0)
    config = BackboneConfig(arch=Arch.alexnet, width=arguments.width)
    record = CheckpointRecord(role="student", backbone=config, crop=arguments.crop, pixels=ImagenetPixels(), classes=0)
    save_checkpoint(path, record, build_backbone(config), None)
    return path


def _report(
    arguments: argparse.Namespace, together: dict[str, float], apart: dict[str, dict[str, float]]
) -> dict[str, Any]:
    separate = sum(found["all"] for found in apart.values())
    return {
        **{name: str(value) if isinstance(value, Path) else value for name, value in vars(arguments).items()},
        "device_name": torch.cuda.get_device_name() if arguments.device.startswith("cuda") else "CPU",
        "threads": torch.get_num_threads(),
        "one_pass_seconds": together,
        "separate_seconds": {tap: found["all"] for tap, found in apart.items()},
        "separate_seconds_in_all": separate,
        "ratio": separate / together["all"],
        "reuse": {
            "again_with_kept_features": together["probes"],
            "again_with_features_anew": together["features"] + together["probes"],
            "ratio": (together["features"] + together["probes"]) / together["probes"],
        },
    }


if __name__ == "__main__":
    main()
