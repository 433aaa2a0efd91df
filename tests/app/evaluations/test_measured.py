"""A real evaluation, from the stage to the leaderboard and the comparison."""

from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.app.evaluations.judge import evaluate
from tests.app.hand import Hand
from tests.worker.stages.networks import SMALL_ALEXNET, SMALL_VGG, write_network
from worker import leases
from worker.config.probe import ProbeConfig
from worker.data.store import write_store
from worker.leases import NewArtifact
from worker.stages.probe import ProbeInputs, run
from worker.stages.standalone import LocalContext

Json = dict[str, Any]
PROTOCOL: Json = {"protocol": "linear", "taps": ["conv1", "conv3"], "max_dims": 64, "epochs": 2, "seeds": [0, 1]}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Bright and dark images."""
    generator = np.random.default_rng(0)
    bright = np.arange(40) % 2
    images = generator.integers(0, 90, (40, 70, 70, 3)) + 90 * bright[:, None, None, None]
    names = [("dark", "bright")[kind] for kind in bright]
    write_store(tmp_path / "store", images.astype(np.uint8), [f"{index:02}.png" for index in range(40)], names)
    return tmp_path / "store"


def measure(hand: Hand, stage: Json, store: Path, network: Path) -> None:
    """The stage as a worker runs it, on a store and a network of the test's own."""
    claim = hand.claim("probe", UUID(stage["id"]))
    context = LocalContext(network.with_suffix(".work"))
    made = run(ProbeConfig.model_validate(claim.config), ProbeInputs(store=store, checkpoint=network), context)
    stored = hand.storage.commit(made.evaluation.path)
    new = NewArtifact("evaluation", made.evaluation.kind, stored, made.evaluation.summary)
    with hand.sessions.begin() as session:
        leases.succeed(session, claim, [new])


def test_what_the_stage_measures_is_shown_and_compared(
    api: TestClient, hand: Hand, networks: dict[str, str], store: Path, tmp_path: Path
) -> None:
    for role, backbone in (("student", SMALL_ALEXNET), ("teacher", SMALL_VGG)):
        (asked,) = evaluate(api, networks[role], PROTOCOL)
        measure(hand, asked["stages"][0], store, write_network(tmp_path / role, backbone, role=role))
    teacher, student = api.get("/evaluations").json()["items"]
    # Networks that say nothing of their training are judged on foreign images, as far as anybody can show.
    shown = {row["method"]: row for row in api.get("/leaderboard", params={"table": 5}).json()["measured"]}
    assert set(shown) == {"CC+vgg-Jigsaw++", "vgg-Jigsaw++"}
    for evaluation, method in ((teacher, "vgg-Jigsaw++"), (student, "CC+vgg-Jigsaw++")):
        cells = evaluation["sheet"]["cells"]
        assert list(shown[method]["cells"]) == ["conv1", "conv3"]
        assert {column: cell["value"] for column, cell in shown[method]["cells"].items()} == {
            column: cell["value"] for column, cell in cells.items()
        }
        assert {cell["seeds"] for cell in shown[method]["cells"].values()} == {2}
        assert shown[method]["differences"][0].startswith("Linear probes on cells, 2 classes, ")
        assert set(evaluation["sheet"]["deviations"]) <= set(shown[method]["differences"])
    answer = api.get("/evaluations/compare", params={"first": student["id"], "second": teacher["id"]})
    found = answer.json()
    assert answer.status_code == 200, found
    for column, compared in found["columns"].items():
        assert compared["first"] == pytest.approx(student["sheet"]["cells"][column]["value"], abs=1e-6)
        assert compared["second"] == pytest.approx(teacher["sheet"]["cells"][column]["value"], abs=1e-6)
        assert compared["wins"] + compared["losses"] + compared["ties"] == found["images"]
