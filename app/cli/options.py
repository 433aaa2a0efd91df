"""Options and arguments that several commands share, and how their values are read."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Url = Annotated[str, typer.Option(envvar="PASSDOWN_URL", help="Where the service listens.")]
URL = "http://127.0.0.1:8000"

Json = dict[str, Any]


def folder_by_name(values: list[str]) -> dict[str, Path]:
    """`["data=/images"]` -> `{"data": Path("/images")}`; the folders must exist."""
    folders: dict[str, Path] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not (name and equals and path):
            raise typer.BadParameter(f"{value!r} is not name=path")
        folders[name] = Path(path).expanduser()
        if not folders[name].is_dir():
            raise typer.BadParameter(f"{path} is not a folder")
    return folders


def artifact_by_role(values: list[str]) -> dict[str, str]:
    """`["teacher=mine"]` -> `{"teacher": "mine"}`."""
    artifacts: dict[str, str] = {}
    for value in values:
        role, _, artifact = value.partition("=")
        if not (role and artifact):
            raise typer.BadParameter(f"{value!r} is not role=artifact")
        artifacts[role] = artifact
    return artifacts


def config_of(text: str | None, settings: list[str]) -> Json:
    """JSON, or `@file` with JSON, with `stage.key=value` settings laid over it."""
    config: Json = {}
    if text is not None:
        config = _object(Path(text[1:]).read_text() if text.startswith("@") else text)
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise typer.BadParameter(f"{setting!r} is not stage.key=value")
        _set(config, name.split("."), _value(value))
    return config


def _object(text: str) -> Json:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"the config is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise typer.BadParameter("the config must be a JSON object")
    return found


def _set(config: Json, keys: list[str], value: Any) -> None:  # noqa: ANN401 (JSON)
    for key in keys[:-1]:
        below = config.setdefault(key, {})
        if not isinstance(below, dict):
            raise typer.BadParameter(f"{key} is not an object, so it has no {keys[-1]}")
        config = below
    config[keys[-1]] = value


def _value(text: str) -> Any:  # noqa: ANN401 (JSON)
    try:
        return json.loads(text)
    except ValueError:
        return text
