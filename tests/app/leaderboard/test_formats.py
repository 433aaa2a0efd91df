"""The leaderboard as Markdown, CSV and a page."""

import csv
from io import StringIO
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.app.evaluations.judge import judged, sheet
from tests.app.hand import Hand

Json = dict[str, Any]
URL = "http://127.0.0.1"


@pytest.fixture
def made(api: TestClient, hand: Hand, networks: dict[str, str]) -> str:
    """An evaluation whose deviations try to be more than text."""
    found = sheet({"conv1": 0.5}, deviations=("Input <script>alert(1)</script> & more.",))
    return judged(api, hand, networks["student"], found)


def table(api: TestClient, number: int, **headers: str) -> str:
    answer = api.get("/leaderboard", params={"table": number, "format": "md"}, headers=headers)
    return answer.text


def test_markdown_has_every_row_as_printed(api: TestClient) -> None:
    lines = [line for line in table(api, 6).splitlines() if line.startswith("|")]
    assert lines[0] == "| Method | Ref | conv1 | conv2 | conv3 | conv4 | conv5 | fc6 | fc7 | Source |"
    assert len(lines) == 2 + 11
    assert lines[3] == "| Random | [21] | 48.5 | 41.0 | 34.8 | 27.1 | 12.0 | - | - | quoted |"
    assert lines[-1] == (
        "| CC+vgg-Jigsaw++ |  | **55.9** | **55.1** | **52.4** | **49.5** | **43.9** | **37.3** | **27.9** | quoted |"
    )


def test_markdown_notes_the_doubtful_cells(api: TestClient) -> None:
    text = table(api, 4)
    assert "| CC+HOG \\[6\\] |  | 16.8 | 27.4 | 20.7[^1] | 32.0 | 29.1 | quoted |" in text
    assert "[^1]: Printed so in the paper, but out of line with its neighbours: perhaps 29.7 or 30.7." in text


def test_markdown_has_our_rows_with_links_and_notes(api: TestClient, made: str, networks: dict[str, str]) -> None:
    text = table(api, 4)
    row = next(line for line in text.splitlines() if "measured on" in line)
    assert row == (
        f"| [CC+vgg-Jigsaw++ (first)]({URL}/checkpoints/{networks['student']})[^2][^3][^4] |  "
        f"| [50.0]({URL}/evaluations/{made}) (48.0 to 52.0; 3 seeds) |  |  |  |  | measured on cells |"
    )
    assert "\n[^4]: Input \\<script\\>" in text
    assert "\nIntervals: Wilson over images at 95 %. They say what other images would find," in text


def test_a_table_without_rows_of_ours_has_no_intervals(api: TestClient) -> None:
    assert "Intervals" not in table(api, 4)
    assert "Intervals" not in api.get("/ui/leaderboard", params={"table": 4}).text


def test_a_column_of_ours_alone_stands_in_every_format(api: TestClient, hand: Hand, networks: dict[str, str]) -> None:
    judged(api, hand, networks["student"], sheet({"layer_2": 0.25}))
    lines = [line for line in table(api, 4).splitlines() if line.startswith("|")]
    assert lines[0].endswith("| conv5 | layer\\_2 | Source |")
    assert lines[2].endswith("| 50.5 |  | quoted |")
    assert "[25.0](" in lines[-1]
    page = api.get("/ui/leaderboard", params={"table": 4}).text
    assert '<th scope="col">layer_2</th>' in page
    assert page.count(">25.0</a>") == 1
    answer = api.get("/leaderboard", params={"table": 4, "format": "csv"})
    read = list(csv.DictReader(StringIO(answer.text)))
    assert (read[0]["layer_2"], read[-1]["layer_2"]) == ("", "25.00")


def test_csv_is_read_back(api: TestClient, made: str) -> None:
    answer = api.get("/leaderboard", params={"table": 4, "format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    lines = list(csv.DictReader(StringIO(answer.text)))
    assert [line["source"] for line in lines] == ["paper"] * 12 + ["measured"]
    hog, ours = lines[1], lines[-1]
    assert (hog["conv3"], hog["conv3_low"]) == ("20.7", "")
    assert hog["notes"].startswith("conv3: Printed so")
    assert (ours["conv1"], ours["conv1_low"], ours["conv1_high"]) == ("50.00", "48.00", "52.00")
    assert (ours["conv1_n"], ours["conv1_seeds"], ours["conv1_evaluations"]) == ("4", "3", "1")
    assert (ours["conv1_confidence"], ours["conv1_interval"]) == ("0.95", "Wilson over images")
    assert ours["conv1_evaluation"] == f"{URL}/evaluations/{made}"
    assert (ours["conv2"], ours["dataset"], ours["name"]) == ("", "cells", "first")
    assert "<script>" in ours["notes"]


ACCEPTED = {
    "text/markdown": "text/markdown",
    "text/csv": "text/csv",
    "application/json": "application/json",
    "*/*": "application/json",
    "text/csv;q=0.1, text/markdown;q=0.9": "text/markdown",
    "text/csv, application/json": "text/csv",
    "text/markdown;q=0": "application/json",
    "text/csv;q=no": "application/json",
    "image/png": "application/json",
}


@pytest.mark.parametrize("accept", ACCEPTED)
def test_the_accept_header_chooses(api: TestClient, accept: str) -> None:
    answer = api.get("/leaderboard", params={"table": 3}, headers={"Accept": accept})
    assert answer.headers["content-type"].partition(";")[0] == ACCEPTED[accept]


def test_the_parameter_has_the_last_word(api: TestClient) -> None:
    answer = api.get("/leaderboard", params={"table": 3, "format": "json"}, headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "application/json"
    assert api.get("/leaderboard", params={"table": 3, "format": "xls"}).json()["code"] == "invalid_request"


def test_the_page_has_all_rows_and_no_foreign_markup(api: TestClient, made: str) -> None:
    answer = api.get("/ui/leaderboard", params={"table": 4})
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    page = answer.text
    assert page.count("quoted</span>") == 12
    assert f'<a href="/evaluations/{made}">50.0</a>' in page
    assert "<b>37.3</b>" in page
    assert "perhaps 29.7 or 30.7" in page
    assert "Intervals: Wilson over images at 95 %." in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("number", [3, 4, 5, 6])
def test_the_page_of_an_empty_service(api: TestClient, number: int) -> None:
    answer = api.get("/ui/leaderboard", params={"table": number})
    assert answer.status_code == 200
    assert "no finished evaluation for this table yet" in answer.text
    assert answer.text.count('aria-current="page"') == 1


def test_the_page_begins_with_table_3(api: TestClient) -> None:
    assert "<title>Table 3:" in api.get("/ui/leaderboard").text
    assert api.get("/ui/leaderboard", params={"table": 2}).json()["code"] == "invalid_request"
