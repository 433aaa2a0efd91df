"""A folder is below its root, or it is nothing."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.datasets.sources import SourceRefused, resolve_source
from app.settings import Settings


@pytest.fixture
def roots(tmp_path: Path) -> Settings:
    """`data` with: cells (one file), empty, file.jpg, links in and out; a secret beside it."""
    data, secret = tmp_path / "data", tmp_path / "secret"
    (data / "cells").mkdir(parents=True)
    (data / "cells" / "a.jpg").write_bytes(b"jpg")
    (data / "empty").mkdir()
    (data / "file.jpg").write_bytes(b"jpg")
    secret.mkdir()
    (secret / "b.jpg").write_bytes(b"jpg")
    (data / "out").symlink_to(secret)
    (data / "in").symlink_to(data / "cells")
    (data / "loop").symlink_to(data / "loop")
    (tmp_path / "data-neighbour").mkdir()
    (tmp_path / "data-neighbour" / "c.jpg").write_bytes(b"jpg")
    (data / "near").symlink_to(tmp_path / "data-neighbour")
    nowhere = SecretStr("postgresql+psycopg://nowhere")
    return Settings(
        database_url=nowhere,
        broker_url=SecretStr("redis://nowhere"),
        storage_root=tmp_path / "storage",
        dataset_roots={"data": data},
    )


def resolve(settings: Settings, path: str, root: str = "data") -> Path:
    source: dict[str, Any] = {"kind": "folder", "root": root, "path": path}
    return resolve_source(settings, source)


def test_a_folder_below_the_root_is_found_links_within_included(roots: Settings, tmp_path: Path) -> None:
    cells = tmp_path / "data" / "cells"
    assert resolve(roots, "cells") == cells
    assert resolve(roots, "./cells/") == cells
    assert resolve(roots, "in") == cells
    assert resolve(roots, ".") == tmp_path / "data"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("..", "path_outside_root"),
        ("cells/../../secret", "path_outside_root"),
        ("cells/../cells", "path_outside_root"),
        ("/etc", "path_outside_root"),
        ("cells\\..\\x", "path_outside_root"),
        ("cells\0", "path_outside_root"),
        ("out", "path_outside_root"),
        ("near", "path_outside_root"),
        ("nothing", "source_missing"),
        ("loop", "source_missing"),
        ("x" * 3000, "source_missing"),
        ("file.jpg", "source_not_a_folder"),
        ("empty", "empty_source"),
    ],
)
def test_everything_else_is_refused_without_a_word_about_the_server(
    roots: Settings, tmp_path: Path, path: str, code: str
) -> None:
    with pytest.raises(SourceRefused) as refused:
        resolve(roots, path)
    assert refused.value.code == code
    assert str(tmp_path) not in str(refused.value)


def test_an_unknown_root_is_answered_with_the_known_ones(roots: Settings) -> None:
    with pytest.raises(SourceRefused, match="known: data") as refused:
        resolve(roots, "cells", root="other")
    assert refused.value.code == "unknown_root"


def test_a_link_that_changed_since_is_noticed(roots: Settings, tmp_path: Path) -> None:
    link = tmp_path / "data" / "in"
    assert resolve(roots, "in")
    link.unlink()
    link.symlink_to(tmp_path / "secret")
    with pytest.raises(SourceRefused):
        resolve(roots, "in")


def test_an_upload_is_a_file_of_the_storage(roots: Settings, tmp_path: Path) -> None:
    source = {"kind": "upload", "upload": "id", "sha256": "ab" * 32, "file": "x.zip"}
    assert resolve_source(roots, source) == tmp_path / "storage" / "artifacts" / "ab" / ("ab" * 32) / "x.zip"
