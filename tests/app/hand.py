"""A worker by hand: claims and finishes stages through the real leases, with files small enough to read."""

import json
import uuid
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.db.session import make_engine, make_sessions
from app.runs.tables import Run, Stage, StageState
from app.settings import Settings
from app.storage import Storage
from worker import leases
from worker.config.pipeline import STAGES, StageName
from worker.config.reasons import Reason
from worker.leases import Claim, Failure, NewArtifact
from worker.scheduler import advance_held_back

COUNT, SIDE, K = 6, 160, 2
LABELS = [0, 1, 0, 0, 1, -1]
DISTANCES = [0.5, 0.25, 0.75, 0.125, np.nan, np.nan]
SUMMARIES: dict[str, dict[str, Any]] = {
    "store": {"count": COUNT, "side": SIDE, "classes": ["cat", "dog"]},
    "features": {"count": COUNT, "dim": 4},
    "centroids": {"k": K, "dim": 4},
}


class Hand:
    def __init__(self, settings: Settings) -> None:
        self.engine = make_engine(settings)
        self.sessions = make_sessions(self.engine)
        self.storage = Storage(settings.storage_root)

    def queued(self) -> list[str]:
        with self.sessions() as session:
            query = select(Stage.name).where(Stage.state == StageState.queued).order_by(Stage.queued_at, Stage.position)
            return list(session.scalars(query))

    def claim(self, name: str, stage_id: uuid.UUID | None = None) -> Claim:
        query = select(Stage.id).where(Stage.name == name, Stage.state == "queued")
        with self.sessions.begin() as session:
            claim = leases.claim(session, stage_id or session.scalars(query).one(), "hand", "cpu", 60)
        assert claim is not None
        return claim

    def report_config(self, claim: Claim, config: dict[str, Any]) -> None:
        with self.sessions.begin() as session:
            leases.record(session, claim, leases.Report(config=config))

    def finish(self, claim: Claim, files: Mapping[str, bytes] | None = None) -> None:
        made = [self._artifact(role, claim, files) for role in STAGES[claim.name].outputs]
        with self.sessions.begin() as session:
            leases.succeed(session, claim, made)

    def fail(self, claim: Claim, reason: Reason = Reason.bad_config, detail: str = "as told") -> None:
        with self.sessions.begin() as session:
            leases.fail(session, claim, Failure(reason, detail), retry_seconds=0)

    def leave(self, claim: Claim) -> None:
        """The child stopped because it was asked to."""
        with self.sessions.begin() as session:
            leases.release(session, claim)

    def work_off(self) -> list[str]:
        """Finish everything that is or becomes ready; returns the stages that were really run."""
        done = []
        while queued := self.queued() or self.wake():
            self.finish(self.claim(queued[0], self._oldest(queued[0])))
            done.append(queued[0])
        return done

    def _oldest(self, name: str) -> uuid.UUID:
        with self.sessions() as session:
            query = select(Stage.id).where(Stage.name == name, Stage.state == StageState.queued)
            return session.scalars(query.order_by(Stage.queued_at).limit(1)).one()

    def wake(self) -> list[str]:
        """The scheduler's look at stages that waited for the same work elsewhere; what is queued then."""
        advance_held_back(self.sessions)
        return self.queued()

    def stage(self, run: str, name: str) -> Stage:
        with self.sessions() as session:
            return session.scalars(select(Stage).where(Stage.run_id == uuid.UUID(run), Stage.name == name)).one()

    def run(self, run: str) -> Run:
        with self.sessions() as session:
            return session.get_one(Run, uuid.UUID(run))

    def _artifact(self, role: str, claim: Claim, files: Mapping[str, bytes] | None) -> NewArtifact:
        folder = self.storage.incoming()
        folder.mkdir()
        for name, content in (files or files_of(role, claim)).items():
            (folder / name).write_bytes(content)
        # No two runs make the same bytes, as far as these tests go.
        (folder / "made_by.txt").write_text(str(claim.run_id))
        kind = STAGES[StageName(claim.name)].outputs[role]
        return NewArtifact(role, kind, self.storage.commit(folder), SUMMARIES.get(role, {"role": role}))


def files_of(role: str, claim: Claim) -> dict[str, bytes]:
    config = dict(claim.config)
    match role:
        case "store":
            problems = [{"path": f"{n}.jpg", "reason": "undecodable", "detail": "cut"} for n in range(3)]
            return {
                "store.json": json.dumps(SUMMARIES["store"]).encode(),
                "images.u8": bytes(COUNT * SIDE * SIDE * 3),
                "problems.jsonl": lines(problems),
            }
        case "labels":
            return {
                "labels.npy": npy(np.array(LABELS, np.int32)),
                "distances.npy": npy(np.array(DISTANCES, np.float32)),
                "manifest.jsonl": lines([{"index": n, "path": f"a/{n}.jpg"} for n in range(COUNT)]),
            }
        case "weights":
            names = ("alexnet.safetensors", "alexnet.onnx", "teacher.safetensors", "model_card.json")
            return {name: name.encode() * 100 for name in names}
        case "centroids":
            return {"centroids.npy": npy(np.zeros((K, 4), np.float32))}
        case "report":
            return {"report.md": b"# report\n", "clusters.png": b"png"}
        case "student" | "teacher" | "checkpoint":
            return {"model.pt": json.dumps(config).encode(), "checkpoint.json": b"{}"}
        case _:
            return {f"{role}.json": json.dumps(config).encode()}


def npy(values: "np.ndarray[Any, Any]") -> bytes:
    buffer = BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def lines(records: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def register(api: TestClient, root: Path, name: str = "cells") -> dict[str, Any]:
    """POST /datasets for a folder of that name below `root`; the dataset as answered."""
    (root / name).mkdir()
    (root / name / "a.jpg").write_bytes(b"jpg")
    answer = api.post("/datasets", json={"name": name, "source": {"kind": "folder", "root": "data", "path": name}})
    assert answer.status_code == 202, answer.text
    dataset: dict[str, Any] = answer.json()
    return dataset
