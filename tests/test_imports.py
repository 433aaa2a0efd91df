"""Which room may import what, by the source of every file and by what is really loaded."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

HEAVY = {"torch", "torchvision", "faiss", "numpy", "PIL", "onnx", "safetensors"}
SERVICE = {"celery", "sqlalchemy", "fastapi", "redis", "psycopg", "alembic", "starlette", "app"}

METHOD = sorted(path.parent.name for path in (ROOT / "worker").glob("*/__init__.py") if path.parent.name != "config")
"""Every package of the worker: stages, pretext tasks, data and what else computes."""

FORBIDDEN = {
    "app": HEAVY,
    "worker/config": HEAVY | SERVICE,
    "models": SERVICE | {"worker"},
    **{f"worker/{room}": SERVICE for room in METHOD},
}
"""Folder -> top-level packages that no file below it imports."""

TORCH_FREE = ["app.main", "app.db.migrate", "worker.config.run", "worker.config.presets", "worker.scheduler"]


def imported(file: Path) -> Iterator[tuple[str, int]]:
    """Top-level packages the file imports, anywhere in it, with the line."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            yield node.module.partition(".")[0], node.lineno


def test_the_method_is_looked_after() -> None:
    assert {"data", "evaluation", "pretext", "stages"} <= set(METHOD)


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_no_file_imports_what_its_room_may_not(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    found = [
        f"{file.relative_to(ROOT)}:{line} imports {package}"
        for file in files
        for package, line in imported(file)
        if package in FORBIDDEN[folder]
    ]
    assert found == []


def loaded_by(module: str) -> set[str]:
    """The top-level packages in a fresh interpreter after the import."""
    code = f"import {module}, sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


@pytest.mark.parametrize("module", TORCH_FREE)
def test_the_service_loads_no_numerics(module: str) -> None:
    assert loaded_by(module) & HEAVY == set()


def test_the_stages_load_nothing_of_the_service() -> None:
    stages = [f"worker.stages.{file.stem}" for file in (ROOT / "worker/stages").glob("*.py") if file.stem != "__init__"]
    assert loaded_by(", ".join(stages)) & SERVICE == set()
