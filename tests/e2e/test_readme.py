"""What the README tells people to type works, in the order in which it tells it."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
import yaml

from app.cli.main import app
from app.client.client import PassdownClient
from tests.e2e.conftest import CLUSTERS, TINY, Served, serve
from tests.e2e.drawn import draw_images
from tests.e2e.readme import README, console, json_block, run

ROOT = README.parent
TEXT = README.read_text()


@pytest.fixture(scope="module")
def service(workplace: Path) -> Iterator[Served]:
    draw_images(workplace / "images" / "cells")
    service = serve(workplace / "service", workplace / "images")
    yield service
    service.stop()


def test_the_walk_through_with_curl(service: Served, tmp_path: Path) -> None:
    request = json.loads(json_block(TEXT)) | {"config": TINY}
    (tmp_path / "run.json").write_text(json.dumps(request))
    printed: dict[str, str] = {}
    for shown in console(TEXT):
        command = shown.command.replace("localhost:8000", service.url.removeprefix("http://"))
        printed[shown.command] = run(re.sub(r"num_classes=\d+", f"num_classes={CLUSTERS}", command), tmp_path)
    told = "".join(printed.values())
    assert "event: run.succeeded" in told
    assert re.search(r"^206, \d+ more bytes$", told, re.MULTILINE)
    assert "<All keys matched successfully>" in told
    etag, digest = re.search(r'etag: "(\w+)"', told), re.search(r"^(\w{64})  alexnet", told, re.MULTILINE)
    assert etag
    assert digest
    assert etag[1] == digest[1]
    with PassdownClient(service.url) as client:
        assert client.run(request["name"]).state == "succeeded"


def test_the_outputs_shown_are_whole() -> None:
    for shown in console(TEXT):
        quiet = " -o " in shown.command and "-w" not in shown.command
        assert bool(shown.output.strip()) is not (quiet or shown.command.startswith("cat >")), shown.command


def test_make_knows_the_targets_that_are_named() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    named = set(re.findall(r"(?:`| {4})make (\w+)", TEXT))
    assert named >= {"demo", "serve", "test"}
    assert named <= set(re.findall(r"make (\w+)", listed))


def test_the_commands_that_are_named_exist() -> None:
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"(?:`|/)passdown (\w+)", TEXT))
    assert named >= {"serve", "submit", "download"}
    assert named <= known


def test_the_files_and_settings_of_compose_exist() -> None:
    for name in re.findall(r"docker-compose[.\w]*\.yml", TEXT):
        assert (ROOT / name).is_file()
    asked = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    offered = set(re.findall(r"^#? ?(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert asked == offered


def test_no_service_of_compose_has_a_default_password() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    secrets = [
        value
        for service in services.values()
        for name, value in service.get("environment", {}).items()
        if "PASSWORD" in name or "AUTH" in name
    ]
    assert len(secrets) == 3
    assert all(re.fullmatch(r"\$\{\w+_PASSWORD:\?set it in \.env\}", value) for value in secrets)
