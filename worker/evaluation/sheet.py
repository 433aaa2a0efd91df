"""Findings with everything needed to doubt them, and the files they become."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.config.pipeline import ArtifactKind
from worker.config.probe import AnyProbe
from worker.config.scores import ProtocolName, ScoreSheet, Table
from worker.data.store import ImageStore
from worker.evaluation.deviations import deviations, images_seen, labels_seen, left_out
from worker.evaluation.provenance import checkpoint_provenance, code_revision
from worker.evaluation.score import Findings
from worker.evaluation.split import ProbeSplit
from worker.evaluation.subject import Subject
from worker.stages.contract import Produced

TABLES: dict[ProtocolName, Table] = {ProtocolName.linear: 4, ProtocolName.nonlinear: 6}


def score_sheet(
    protocol: AnyProbe, subject: Subject, split: ProbeSplit | None, found: Findings, facts: Mapping[str, Any]
) -> ScoreSheet:
    """`split` is None where no image teaches."""
    store, name = subject.store, ProtocolName(protocol.protocol)
    known = {
        **(split_facts(split, store) if split is not None else {}),
        "unlabelled": int((store.labels < 0).sum()),
        "store_side": store.side,
        "precision": subject.precision,
        "device": str(subject.device),
        **found.facts,
        **facts,
    }
    return ScoreSheet(
        protocol=name,
        metric=found.metric,
        table=TABLES.get(name),
        cells=dict(found.cells),
        further={metric: dict(cells) for metric, cells in found.further.items()},
        confidence=protocol.confidence,
        config=protocol.model_dump(mode="json"),
        facts=known,
        deviations=(
            *labels_seen(subject, split),
            *images_seen(subject, split),
            *deviations(protocol, subject, split),
            *left_out(protocol, list(found.cells)),
        ),
        dataset=store.digest,
        photographs=store.photographs,
        checkpoint=checkpoint_provenance(subject.checkpoint, subject.record),
        trunk_unchanged=found.trunk_unchanged,
        revision=code_revision(),
    )


def split_facts(split: ProbeSplit, store: ImageStore) -> dict[str, Any]:
    held = len(split.judged)
    return {
        "train": len(split.images) - held,
        "held_out": held,
        "classes": [store.classes[label] for label in split.classes],
        "dropped_classes": {store.classes[label]: count for label, count in split.dropped.items()},
        "majority": float(np.bincount(split.labels[split.held_out]).max() / held),
    }


def write_evaluation(
    folder: Path, sheet: ScoreSheet, found: Findings, store: ImageStore, images: NDArray[np.int64]
) -> Produced:
    """`evaluation.json`, `images.json` (paths of the judged images), `right_<column>.npy` and the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "images.json").write_text(json.dumps([store.paths[int(index)] for index in images]))
    for column, right in found.right.items():
        np.save(folder / f"right_{column}.npy", right)
    for name, picture in found.pictures.items():
        picture.save(folder / name)
    (folder / "evaluation.json").write_text(sheet.model_dump_json(indent=2) + "\n")
    return Produced(kind=ArtifactKind.evaluation, path=folder, summary=sheet.model_dump(mode="json"))
