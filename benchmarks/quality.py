"""Trains the methods of the paper's tables on one folder of images, probes them alike, and says how far each comes.

    python -m benchmarks.quality --data /some/imagenette160 --out quality --budget 25 --device cuda

The held-out images (by the md5 of their path; a tenth, or `--held-out 0.3`) are shown to no training at all. `--budget`
is in minutes: schedules are chosen to fit it, and written into the report. What is done is kept in `--out` and not done
again.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.quality_methods import DEFAULT_METHODS, VOC_METHODS, Methods
from benchmarks.quality_recipe import Recipe, recipe_for
from benchmarks.quality_report import Proof
from benchmarks.quality_steps import Steps
from benchmarks.quality_voc import voc_sheets
from worker.config.ingest import IngestConfig
from worker.config.probe import LabelSplit, LinearProtocol, ProbeConfig
from worker.data.store import ImageStore, write_store
from worker.evaluation.provenance import code_revision
from worker.evaluation.split import split_labelled
from worker.stages import ingest, probe
from worker.stages.contract import StageError


def main() -> None:
    arguments = _arguments()
    recipe = recipe_for(arguments.size)
    recipe = Recipe.model_validate(recipe.model_dump() | json.loads(arguments.recipe))
    steps = Steps(arguments.out, arguments.device)
    whole = _stored(steps, arguments.data, recipe.side)
    proof = Proof(recipe, _facts(arguments, whole), steps.seconds)
    split = _split(arguments.held_out)
    seen = without_held_out(whole, split, arguments.out / "seen")
    config = ProbeConfig(protocol=LinearProtocol(split=split, side=recipe.view_side, crop=recipe.crop))
    for network in range(arguments.networks):
        drawn = recipe.model_copy(update={"seed": recipe.seed + network})
        methods = Methods(steps, drawn, seen, arguments.budget / arguments.networks)
        for name in arguments.methods:
            _prove(name, network, methods, Judge(steps, config, whole), proof)
            (arguments.out / "report.md").write_text(proof.text())
    if arguments.voc is not None:
        _prove_transfer(arguments, steps, proof)
    print(proof.text())


@dataclass(frozen=True)
class Judge:
    """Probes checkpoints on all images: those that trainings saw teach, the held-out ones judge."""

    steps: Steps
    config: ProbeConfig
    store: Path

    def evaluation(self, name: str, checkpoint: Path) -> Path:
        inputs = {"store": self.store, "checkpoint": checkpoint}
        return self.steps.take(f"linear.{name}", probe.run, self.config, probe.ProbeInputs, inputs)["evaluation"]


def _prove(name: str, network: int, methods: Methods, judge: Judge, proof: Proof) -> None:
    label = name if network == 0 else f"{name}, network {network + 1}"
    try:
        checkpoint = methods.checkpoint(name)
        proof.add_probe(name, judge.evaluation(name, checkpoint))
    except StageError as error:
        proof.failed[label] = f"{error.reason}: {error}"
        return
    proof.checkpoints.setdefault(name, checkpoint)
    if name in methods.told:
        proof.told[label] = methods.told[name]


def _prove_transfer(arguments: argparse.Namespace, steps: Steps, proof: Proof) -> None:
    """Of each method's first network."""
    chosen = {name: proof.checkpoints[name] for name in arguments.voc_methods if name in proof.checkpoints}
    for protocol in arguments.voc_protocols:
        sheets = voc_sheets(steps, arguments.voc, chosen, [protocol], gpu=arguments.size == "gpu")
        for name, by_protocol in sheets.items():
            proof.add_transfer(name, by_protocol[protocol])
        (arguments.out / "report.md").write_text(proof.text())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder with train.tsv, or of one folder a class")
    parser.add_argument("--out", type=Path, default=Path("quality"))
    parser.add_argument("--budget", type=float, default=25, help="minutes for all trainings together")
    parser.add_argument("--networks", type=int, default=1, help="trainings of each method, with seeds of their own")
    parser.add_argument("--held-out", type=float, help="share of the images that judges; a tenth if left out")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", choices=("gpu", "cpu"), default="gpu" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--methods", nargs="+", default=list(DEFAULT_METHODS))
    parser.add_argument("--voc", type=Path, help="a folder in PASCAL VOC's layout")
    parser.add_argument("--voc-methods", nargs="+", default=list(VOC_METHODS))
    parser.add_argument("--voc-protocols", nargs="+", default=["classification", "segmentation", "detection"])
    parser.add_argument("--recipe", default="{}", help="JSON laid over the recipe")
    return parser.parse_args()


def _stored(steps: Steps, data: Path, side: int) -> Path:
    listed = data / "train.tsv"
    config = (
        IngestConfig(side=side, labels="csv", labels_csv="train.tsv", label_column="class")
        if listed.is_file()
        else IngestConfig(side=side, labels="folders")
    )
    return steps.take("ingest", ingest.run, config, ingest.IngestInputs, {"source": data})["store"]


def _split(share: float | None) -> LabelSplit:
    return LabelSplit(rule="md5-mod-10") if share is None else LabelSplit(rule="md5-share", holdout=share)


def without_held_out(whole: Path, split: LabelSplit, folder: Path) -> Path:
    """The images that trainings may see, as a store of their own: its digest says what they saw."""
    seen = folder / f"{whole.parent.name}-{split.rule}-{split.holdout:g}" / "store"
    if not (seen / "store.json").is_file():
        store = ImageStore.open(whole)
        judged = split_labelled(store.paths, store.labels, split.holdout, None, 0, split.rule).judged
        kept = np.setdiff1d(np.arange(store.count), judged)
        names = [store.classes[label] if label >= 0 else None for label in store.labels[kept]]
        write_store(seen, store.images[kept], [store.paths[index] for index in kept], names)
    return seen


def _facts(arguments: argparse.Namespace, whole: Path) -> dict[str, str]:
    device = (
        torch.cuda.get_device_name() if arguments.device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    )
    store = ImageStore.open(whole)
    held_out = "md5(path) % 10 == 0" if arguments.held_out is None else f"a share of {arguments.held_out:g}, by md5"
    return {
        "images": f"{store.count} of {store.side} px, {len(store.classes)} classes",
        "held out": f"{held_out}: shown to no training",
        "device": device,
        "torch": torch.__version__,
        "revision": code_revision() or "unknown",
        "budget": f"{arguments.budget:g} minutes of training",
    }


if __name__ == "__main__":
    main()
