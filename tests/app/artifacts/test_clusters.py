"""Which images are in which cluster."""

import csv
from io import BytesIO, StringIO

import numpy as np
import pyarrow.parquet
import pytest
from fastapi.testclient import TestClient

from tests.app.artifacts.conftest import Library
from tests.app.hand import npy

Made = dict[str, str]


@pytest.fixture
def api(library: Library) -> TestClient:
    return library.api


@pytest.fixture
def made(library: Library) -> Made:
    return library.made


def test_a_cluster_shows_its_nearest_and_farthest_images(api: TestClient, made: Made) -> None:
    cluster = api.get(f"/clusterings/{made['centroids']}/clusters/0", params={"limit": 2}).json()
    assert (cluster["size"], cluster["label_set"]) == (3, made["labels"])
    assert cluster["nearest"] == [
        {"index": 3, "path": "a/3.jpg", "distance": 0.125, "image": f"/artifacts/{made['store']}/images/3"},
        {"index": 0, "path": "a/0.jpg", "distance": 0.5, "image": f"/artifacts/{made['store']}/images/0"},
    ]
    assert [member["index"] for member in cluster["farthest"]] == [2, 0]
    assert api.get(cluster["nearest"][0]["image"]).status_code == 200


def test_images_without_a_distance_come_last(api: TestClient, made: Made) -> None:
    cluster = api.get(f"/clusterings/{made['centroids']}/clusters/1").json()
    assert [(member["index"], member["distance"]) for member in cluster["nearest"]] == [(1, 0.25), (4, None)]


def test_clusters_are_counted_from_zero(api: TestClient, made: Made) -> None:
    for number in (-1, 2):
        answer = api.get(f"/clusterings/{made['centroids']}/clusters/{number}")
        assert (answer.status_code, answer.json()["code"]) == (404, "cluster_not_found")


def test_a_clustering_names_its_label_sets(api: TestClient, made: Made) -> None:
    clustering = api.get(f"/clusterings/{made['centroids']}").json()
    assert clustering["label_sets"] == [made["labels"]]
    assert api.get("/clusterings").json()["items"] == [clustering]
    chosen = api.get(f"/clusterings/{made['centroids']}/clusters/0", params={"label_set": made["labels"]})
    assert chosen.status_code == 200


def test_centroids_are_downloaded(api: TestClient, made: Made) -> None:
    answer = api.get(f"/clusterings/{made['centroids']}/centroids")
    assert answer.content == npy(np.zeros((2, 4), np.float32))


def test_labels_as_csv(api: TestClient, made: Made) -> None:
    answer = api.get(f"/pseudo-label-sets/{made['labels']}/download", params={"format": "csv"})
    assert answer.headers["content-disposition"] == 'attachment; filename="pseudo_labels.csv"'
    assert list(csv.reader(StringIO(answer.text))) == [
        ["path", "label", "distance"],
        ["a/0.jpg", "0", "0.5"],
        ["a/1.jpg", "1", "0.25"],
        ["a/2.jpg", "0", "0.75"],
        ["a/3.jpg", "0", "0.125"],
        ["a/4.jpg", "1", ""],
    ]


def test_labels_as_parquet_by_ranges(api: TestClient, made: Made) -> None:
    path = f"/pseudo-label-sets/{made['labels']}/download"
    whole = api.get(path)
    table = pyarrow.parquet.read_table(BytesIO(whole.content))
    assert table.column("label").to_pylist() == [0, 1, 0, 0, 1]
    assert table.column("distance").to_pylist()[-2:] == [0.125, None]
    rest = api.get(path, headers={"Range": "bytes=100-", "If-Range": whole.headers["etag"]})
    assert whole.content[:100] + rest.content == whole.content


def test_a_written_table_does_not_stay_on_disk(api: TestClient, made: Made, library: Library) -> None:
    api.get(f"/pseudo-label-sets/{made['labels']}/download")
    assert list((library.root / "incoming").iterdir()) == []
