"""What a row must say besides its numbers: on what, and how, network and numbers were made."""

from collections.abc import Iterator, Mapping
from typing import Any

from models.config import Arch
from worker.config.scores import ProtocolName, ScoreSheet

PROTOCOLS = {
    ProtocolName.linear: "Linear probes",
    ProtocolName.nonlinear: "Nonlinear probes",
    ProtocolName.retrieval: "Retrieval",
    ProtocolName.low_shot: "Few labels",
    ProtocolName.clusters: "Clusters",
    ProtocolName.voc_classification: "Classification",
    ProtocolName.voc_detection: "Detection",
    ProtocolName.voc_segmentation: "Segmentation",
}

MEASURES = {
    "crop": "input of {} px",
    "scales": "short sides of {} px in training",
    "epochs": "{} epochs",
    "iterations": "{} iterations",
}
"""Settings that every reader asks for -> in words; the sheet's own deviations hold them against the paper's."""

COUNTED = {
    "classes": "classes",
    "train": "images to learn",
    "train_images": "images to learn",
    "training_images": "images to learn",
    "held_out": "images judged",
    "test_images": "images judged",
}
"""Facts of an evaluation: numbers, or lists to be counted."""


def differences(sheet: ScoreSheet, training: Mapping[str, Any], dataset: str) -> list[str]:
    """What was judged and how, what the checkpoint is, then the deviations that the evaluation itself wrote down."""
    how = ", ".join([f"on {dataset}", *_counts(sheet.facts), *_settings(sheet.config)])
    network = ", ".join([*_network(training.get("backbone")), *_schedule(training)])
    checkpoint = [f"Checkpoint: {network}."] if network else []
    # Table 3's rows hold numbers of several protocols.
    whose = f"{PROTOCOLS[sheet.protocol]}: " if sheet.table == 3 else ""
    deviations = [whose + sentence for sentence in sheet.deviations]
    return [f"{PROTOCOLS[sheet.protocol]} {how}.", *checkpoint, *deviations]


def training_facts(sheet: ScoreSheet, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of the checkpoint's making, from its artifact's summary and from the sheet, whose word counts."""
    facts: dict[str, Any] = {}
    for source in (checkpoint, sheet.checkpoint):
        facts |= source.get("training") or {}
        facts |= {name: value for name, value in source.items() if value is not None}
    return facts


def _counts(facts: Mapping[str, Any]) -> Iterator[str]:
    for name, words in COUNTED.items():
        value = facts.get(name)
        if isinstance(value, int | list):
            yield f"{value if isinstance(value, int) else len(value):,} {words}"


def _settings(config: Mapping[str, Any]) -> Iterator[str]:
    for name, words in MEASURES.items():
        value = config.get(name)
        if isinstance(value, list):
            yield words.format("/".join(str(one) for one in value))
        elif value is not None:
            yield words.format(f"{value:g}" if isinstance(value, float) else value)


def _network(backbone: Mapping[str, Any] | None) -> Iterator[str]:
    if backbone is None:
        return
    if ":" in str(backbone["arch"]):  # a library's network has no settings
        yield backbone["arch"]
        return
    yield f"{backbone['arch']} at width {backbone['width']:g}"
    yield "no normalisation" if backbone["norm"] == "none" else f"{backbone['norm']} norm"
    if backbone["arch"] != Arch.vgg16:
        yield f"conv1 stride {backbone['conv1_stride']}"


def _schedule(training: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(epochs := training.get("epochs"), int | float):
        yield f"trained for {round(epochs, 1):g} epochs"
    if isinstance(images := training.get("images"), int):
        yield f"{images:,} images"
