"""What probes must show on a CUDA device: the same numbers every time, and about those of a CPU."""

from pathlib import Path

import numpy as np
import pytest

from tests.worker.stages.networks import SMALL_ALEXNET, write_network
from worker.config.probe import AnyProbe, ClusterProtocol, LabelSplit, LinearProtocol, RetrievalProtocol
from worker.config.scores import ScoreSheet
from worker.data.store import write_store
from worker.stages.probe import ProbeConfig, ProbeInputs, run
from worker.stages.standalone import LocalContext

pytestmark = pytest.mark.gpu

SPLIT = LabelSplit(holdout=0.3)
PROTOCOLS: list[AnyProbe] = [
    LinearProtocol(max_dims=256, split=SPLIT),
    RetrievalProtocol(taps=("conv3", "conv5"), max_dims=256, grid=0, split=SPLIT),
    ClusterProtocol(tap="conv3", k=8, split=SPLIT),
]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Four colours under noise."""
    rng = np.random.default_rng(0)
    colours = np.array([[90, 20, 20], [20, 90, 20], [20, 20, 90], [70, 70, 20]])
    kinds = np.arange(400) % 4
    images = colours[kinds][:, None, None, :] + rng.integers(0, 160, (400, 70, 70, 3))
    labels: list[str | None] = [str(kind) for kind in kinds]
    write_store(tmp_path / "store", images.astype(np.uint8), [f"{index}.png" for index in range(400)], labels)
    return tmp_path / "store"


def judged(path: Path, protocol: AnyProbe, store: Path, checkpoint: Path, device: str) -> ScoreSheet:
    inputs = ProbeInputs(store=store, checkpoint=checkpoint)
    made = run(ProbeConfig(protocol=protocol), inputs, LocalContext(path, device)).evaluation
    return ScoreSheet.model_validate(made.summary)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numbers_come_again_and_are_about_those_of_a_cpu(tmp_path: Path, store: Path, protocol: AnyProbe) -> None:
    checkpoint = write_network(tmp_path / "network", SMALL_ALEXNET, role="student")
    first, again = (judged(tmp_path / name, protocol, store, checkpoint, "cuda") for name in ("first", "again"))
    on_cpu = judged(tmp_path / "cpu", protocol, store, checkpoint, "cpu")
    assert first.cells == again.cells
    assert first.further == again.further
    assert first.trunk_unchanged
    for column, cell in on_cpu.cells.items():
        assert first.cells[column].value == pytest.approx(cell.value, abs=0.05)


def test_features_in_files_give_the_numbers_of_features_on_the_device(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_network(tmp_path / "network", SMALL_ALEXNET, role="student")
    resident = judged(tmp_path / "resident", PROTOCOLS[0], store, checkpoint, "cuda")
    monkeypatch.setattr("worker.evaluation.features._free_bytes", lambda device: 0)
    mapped = judged(tmp_path / "mapped", PROTOCOLS[0], store, checkpoint, "cuda")
    for column, cell in resident.cells.items():
        assert mapped.cells[column].value == pytest.approx(cell.value, abs=0.02)
