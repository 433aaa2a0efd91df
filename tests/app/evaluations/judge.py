"""A judge by hand: finishes evaluation stages with numbers that are known."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from fastapi.testclient import TestClient

from app.datasets.tables import Dataset, Layout
from app.runs import service
from app.runs.tables import Run, RunKind
from tests.app.hand import Hand, npy
from worker import leases
from worker.config.ingest_voc import IngestVocConfig
from worker.config.pipeline import ArtifactKind, StageName
from worker.config.scores import Cell, ProtocolName, ScoreSheet
from worker.leases import Claim, NewArtifact

Json = dict[str, Any]
IMAGES = ["a/0.jpg", "a/1.jpg", "b/2.jpg", "b/3.jpg"]
STORE = "store-digest"
"""Digest of the dataset `cells`, as the sheets here say."""
LINEAR: Json = {"protocol": "linear"}


def cell(value: float, seeds: int = 3) -> Cell:
    per_seed = {str(seed): value for seed in range(seeds)}
    return Cell(
        value=value,
        low=value - 0.02,
        high=value + 0.02,
        interval="Wilson over images",
        n=len(IMAGES),
        per_seed=per_seed,
    )


def sheet(values: Mapping[str, float], **fields: Any) -> ScoreSheet:  # noqa: ANN401
    """A linear evaluation on the images that the checkpoint was trained on; `fields` say otherwise."""
    facts: Json = {
        "protocol": ProtocolName.linear,
        "metric": "top1",
        "table": 4,
        "config": {"protocol": "linear", "epochs": 30, "crop": 96},
        "facts": {"classes": ["cat", "dog"], "train": 2000, "held_out": 4},
        "dataset": STORE,
        "checkpoint": {"dataset": STORE, "epochs": 60},
    }
    return ScoreSheet(cells={column: cell(value) for column, value in values.items()}, **{**facts, **fields})


def finish(
    hand: Hand,
    claim: Claim,
    judged: ScoreSheet,
    right: Mapping[str, Sequence[float]] | None = None,
    images: Sequence[str] = IMAGES,
) -> None:
    """End an evaluation's stage as the real ones do: the sheet, the images' ids, and what was right of them."""
    folder = hand.storage.incoming()
    folder.mkdir()
    (folder / "evaluation.json").write_text(judged.model_dump_json())
    (folder / "images.json").write_text(json.dumps(list(images)))
    for column, scores in (right or {}).items():
        (folder / f"right_{column}.npy").write_bytes(npy(np.array(scores, np.float32)))
    (folder / "made_by.txt").write_text(str(claim.run_id))
    summary = judged.model_dump(mode="json")
    made = NewArtifact("evaluation", ArtifactKind.evaluation, hand.storage.commit(folder), summary)
    with hand.sessions.begin() as session:
        leases.succeed(session, claim, [made])


def evaluate(api: TestClient, checkpoint: str, *protocols: Json, dataset: str = "cells") -> list[Json]:
    """POST /evaluations; the runs as answered."""
    body = {"checkpoint": checkpoint, "dataset": dataset, "protocols": list(protocols) or [LINEAR]}
    answer = api.post("/evaluations", json=body)
    assert answer.status_code == 202, answer.text
    runs: list[Json] = answer.json()["runs"]
    return runs


def judged(
    api: TestClient,
    hand: Hand,
    checkpoint: str,
    found: ScoreSheet,
    right: Mapping[str, Sequence[float]] | None = None,
    images: Sequence[str] = IMAGES,
    protocol: Json | None = None,
    dataset: str = "cells",
) -> str:
    """Ask for an evaluation, and give it these numbers; its id. `protocol` must be new to the checkpoint."""
    (run,) = evaluate(api, checkpoint, protocol or LINEAR, dataset=dataset)
    (stage,) = run["stages"]
    finish(hand, hand.claim(stage["name"], UUID(stage["id"])), found, right, images)
    (made,) = api.get(f"/runs/{run['id']}").json()["artifacts"]
    return str(made["id"])


def register_photographs(hand: Hand, name: str = "voc") -> str:
    """A dataset of annotated photographs that is being registered; its run's id."""
    with hand.sessions.begin() as session:
        source = {"kind": "folder", "root": "data", "path": name}
        dataset = Dataset(name=name, source=source, layout=Layout.voc, config={})
        session.add(dataset)
        session.flush()
        run = Run(kind=RunKind.ingest, dataset_id=dataset.id, config={}, inputs={})
        service.start(session, run, [service.Job(StageName.ingest_voc, IngestVocConfig())])
        return str(run.id)
