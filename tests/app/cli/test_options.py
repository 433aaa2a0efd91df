import json
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from app.cli.options import artifact_by_role, config_of, folder_by_name


def test_settings_lie_over_the_config() -> None:
    config = config_of('{"cluster": {"k": 10, "seed": 1}}', ["cluster.k=100", "classify.schedule.lr=0.05"])
    assert config == {"cluster": {"k": 100, "seed": 1}, "classify": {"schedule": {"lr": 0.05}}}


def test_a_value_that_is_no_json_is_a_word() -> None:
    assert config_of(None, ["labels=none", "flip=true", "csv=null"]) == {"labels": "none", "flip": True, "csv": None}


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.integers() | st.booleans() | st.floats(-9, 9)))
def test_json_and_settings_say_the_same(config: dict[str, object]) -> None:
    assert config_of(json.dumps(config), []) == config
    assert config_of(None, [f"{name}={json.dumps(value)}" for name, value in config.items()]) == config


def test_a_config_may_lie_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text('{"cluster": {"k": 7}}')
    assert config_of(f"@{path}", []) == {"cluster": {"k": 7}}


@pytest.mark.parametrize(
    ("text", "settings", "words"),
    [
        ("{", [], "not JSON"),
        ("[1]", [], "must be a JSON object"),
        (None, ["k"], "not stage.key=value"),
        ('{"cluster": 3}', ["cluster.k=1"], "cluster"),
    ],
)
def test_what_cannot_be_read_is_named(text: str | None, settings: list[str], words: str) -> None:
    with pytest.raises(typer.BadParameter, match=words):
        config_of(text, settings)


def test_inputs_are_artifacts_by_role() -> None:
    assert artifact_by_role(["teacher=mine", "centroids=7f"]) == {"teacher": "mine", "centroids": "7f"}
    with pytest.raises(typer.BadParameter, match="not role=artifact"):
        artifact_by_role(["teacher"])


def test_roots_are_folders_by_name(tmp_path: Path) -> None:
    assert folder_by_name([f"data={tmp_path}"]) == {"data": tmp_path}


@pytest.mark.parametrize("value", ["data", "=x", "data=", "data=/no/such/folder"])
def test_a_root_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(typer.BadParameter):
        folder_by_name([value])
