import json
import subprocess
from pathlib import Path

import pytest

from models.checkpoint import load_record
from tests.worker.stages.networks import write_network
from worker.evaluation.provenance import REVISION_VARIABLE, checkpoint_provenance, code_revision


def git(folder: Path, *arguments: str) -> str:
    name = ["-c", "user.name=n", "-c", "user.email=e"]
    answer = subprocess.run(["git", "-C", folder, *name, *arguments], capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def test_names_the_commit_and_says_where_files_differ_from_it(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-q", "-m", "One")
    git(tmp_path, "tag", "-a", "v1", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert code_revision(tmp_path) == commit
    (tmp_path / "code.py").write_text("2")
    assert code_revision(tmp_path) == f"{commit}-dirty"


def test_without_history_the_environment_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REVISION_VARIABLE, raising=False)
    assert code_revision(tmp_path) is None
    monkeypatch.setenv(REVISION_VARIABLE, "abc")
    assert code_revision(tmp_path) == "abc"


def test_a_checkpoint_is_known_by_weights_architecture_and_training(tmp_path: Path) -> None:
    folder = write_network(tmp_path / "network", role="student")
    record = json.loads((folder / "checkpoint.json").read_text())
    training = {"dataset": "d1", "photographs": "p1", "epochs": 3, "images_seen": 90, "loss": 0.5}
    (folder / "checkpoint.json").write_text(json.dumps({**record, "training": training}))
    facts = checkpoint_provenance(folder, load_record(folder))
    assert facts["role"] == "student"
    assert facts["backbone"]["width"] == 0.125
    assert len(facts["weights_sha256"]) == 64
    assert (facts["dataset"], facts["epochs"], facts["images_seen"], facts["crop"]) == ("d1", 3, 90, 64)
    assert facts["photographs"] == "p1"
    assert "loss" not in facts
