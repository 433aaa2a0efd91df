"""GET /leaderboard: the paper's rows, and ours beside them."""

import uuid
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import select

from app.artifacts.tables import Artifact
from app.runs.tables import Stage
from tests.app.evaluations.judge import LINEAR, evaluate, judged, register_photographs, sheet
from tests.app.hand import Hand
from worker.config.scores import ProtocolName

Json = dict[str, Any]


def board(api: TestClient, table: int) -> Json:
    answer = api.get("/leaderboard", params={"table": table})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def rows(api: TestClient, table: int) -> list[Json]:
    found: list[Json] = board(api, table)["measured"]
    return found


def test_the_papers_rows_stand_without_any_of_ours(api: TestClient) -> None:
    found = board(api, 3)
    assert (found["columns"], found["measured"]) == (["class", "det_ss", "det_ms", "segm"], [])
    assert found["headings"]["det_ms"] == "Det. MS"
    assert found["quoted"][2] == {
        "method": "Random",
        "ref": "[27]",
        "cells": {
            "class": {"text": "53.3", "value": 0.533, "bold": False, "doubt": None},
            "det_ss": {"text": "43.4", "value": 0.434, "bold": False, "doubt": None},
            "det_ms": {"text": "-", "value": None, "bold": False, "doubt": None},
            "segm": {"text": "19.8", "value": 0.198, "bold": False, "doubt": None},
        },
    }


def test_a_row_is_a_checkpoint_whose_cells_link_to_their_evaluation(
    api: TestClient, hand: Hand, networks: dict[str, str]
) -> None:
    made = judged(api, hand, networks["student"], sheet({"conv1": 0.5, "conv4": 0.625}))
    (row,) = rows(api, 4)
    assert (row["method"], row["name"], row["dataset"]) == ("CC+vgg-Jigsaw++", "first", "cells")
    assert (row["checkpoint"], row["link"]) == (networks["student"], f"/checkpoints/{networks['student']}")
    assert list(row["cells"]) == ["conv1", "conv4"]
    cell = row["cells"]["conv4"]
    assert (cell["value"], cell["low"], cell["high"]) == (0.625, 0.605, 0.645)
    assert (cell["seeds"], cell["n"], cell["evaluations"], cell["protocol"]) == (3, 4, 1, "linear")
    assert (cell["evaluation"], cell["link"]) == (made, f"/evaluations/{made}")
    assert api.get(cell["link"]).json()["sheet"]["cells"]["conv4"]["value"] == cell["value"]
    assert api.get(row["link"]).status_code == 200


def test_other_taps_than_the_papers_get_columns_of_their_own(
    api: TestClient, hand: Hand, networks: dict[str, str]
) -> None:
    judged(api, hand, networks["teacher"], sheet({"conv1": 0.5}))
    judged(api, hand, networks["student"], sheet({"layer2": 0.25, "layer4": 0.5}))
    found = board(api, 4)
    assert found["columns"] == ["conv1", "conv2", "conv3", "conv4", "conv5", "layer2", "layer4"]
    assert found["headings"]["layer2"] == "layer2"
    assert [list(row["cells"]) for row in found["measured"]] == [["conv1"], ["layer2", "layer4"]]
    assert "layer2" not in found["quoted"][0]["cells"]


def test_there_is_no_cell_before_its_evaluation_has_ended_well(
    api: TestClient, hand: Hand, networks: dict[str, str]
) -> None:
    evaluate(api, networks["student"], LINEAR)
    assert rows(api, 4) == []
    claim = hand.claim("probe")
    assert rows(api, 4) == []
    hand.fail(claim)
    assert rows(api, 4) == []


def test_a_row_says_how_it_differs(api: TestClient, hand: Hand, networks: dict[str, str]) -> None:
    deviations = ("Images of 96 pixels; the paper has 227.", "30 epochs; the paper has 28.")
    judged(api, hand, networks["student"], sheet({"conv1": 0.5}, deviations=deviations))
    (row,) = rows(api, 4)
    assert row["differences"] == [
        "Linear probes on cells, 2 classes, 2,000 images to learn, 4 images judged, input of 96 px, 30 epochs.",
        "Checkpoint: trained for 60 epochs.",
        *deviations,
    ]


def test_a_row_of_fine_tuning_counts_its_images_too(api: TestClient, hand: Hand, networks: dict[str, str]) -> None:
    register_photographs(hand)
    hand.work_off()
    for protocol, learnt in (("voc_classification", "train_images"), ("voc_detection", "training_images")):
        found = sheet(
            {protocol: 0.5},
            protocol=ProtocolName(protocol),
            table=3,
            config={"protocol": protocol, "iterations": 500},
            facts={"classes": ["cat"], learnt: 2501, "test_images": 9},
            deviations=("Batch of 2 instead of 20.",),
        )
        judged(api, hand, networks["student"], found, protocol={"protocol": protocol}, dataset="voc")
    (row,) = rows(api, 3)
    counts = "on voc, 1 classes, 2,501 images to learn, 9 images judged, 500 iterations."
    assert row["differences"] == [
        f"Detection {counts}",
        "Checkpoint: trained for 60 epochs.",
        "Detection: Batch of 2 instead of 20.",
        f"Classification {counts}",
        "Classification: Batch of 2 instead of 20.",
    ]


def test_images_of_the_pretraining_belong_to_table_4_and_others_to_table_5(
    api: TestClient, hand: Hand, networks: dict[str, str]
) -> None:
    judged(api, hand, networks["student"], sheet({"conv1": 0.5}))
    elsewhere = sheet({"conv1": 0.4}, dataset="places")
    judged(api, hand, networks["student"], elsewhere, protocol={"protocol": "linear", "epochs": 2})
    unknown = sheet({"conv1": 0.3}, checkpoint={})
    judged(api, hand, networks["teacher"], unknown)
    assert [row["cells"]["conv1"]["value"] for row in rows(api, 4)] == [0.5]
    assert [row["cells"]["conv1"]["value"] for row in rows(api, 5)] == [0.3, 0.4]
    assert (rows(api, 3), rows(api, 6)) == ([], [])


def test_the_photographs_of_the_pretraining_belong_to_table_4_at_any_side(
    api: TestClient, hand: Hand, networks: dict[str, str]
) -> None:
    learnt = {"dataset": "at 112 pixels", "photographs": "these"}
    stored = {0.5: ("at 160 pixels", "these"), 0.4: ("a part of them", "fewer"), 0.3: ("of an earlier version", None)}
    for epochs, (value, (dataset, photographs)) in enumerate(stored.items(), start=1):
        found = sheet({"conv1": value}, dataset=dataset, photographs=photographs, checkpoint=learnt)
        judged(api, hand, networks["student"], found, protocol={"protocol": "linear", "epochs": epochs})
    unknown = sheet({"conv1": 0.2}, dataset="at 160 pixels", photographs="these", checkpoint={"dataset": "another"})
    judged(api, hand, networks["teacher"], unknown)
    assert [row["cells"]["conv1"]["value"] for row in rows(api, 4)] == [0.5]
    assert {row["cells"]["conv1"]["value"] for row in rows(api, 5)} == {0.4, 0.3, 0.2}


def test_what_a_checkpoint_learnt_from_may_be_said_by_its_own_summary(
    api: TestClient, hand: Hand, networks: dict[str, str]
) -> None:
    with hand.sessions.begin() as session:
        student = session.get_one(Artifact, uuid.UUID(networks["student"]))
        student.summary = {"role": "student", "dataset": "store-digest"}
    judged(api, hand, networks["student"], sheet({"conv1": 0.5}, checkpoint={"role": "student"}))
    assert (len(rows(api, 4)), rows(api, 5)) == (1, [])


def test_an_untrained_network_is_the_baseline_of_both_linear_tables(
    api: TestClient, hand: Hand, networks: dict[str, str]
) -> None:
    with hand.sessions.begin() as session:
        teacher = session.get_one(Artifact, uuid.UUID(networks["teacher"]))
        stage = session.scalars(select(Stage).where(Stage.id == teacher.stage_id)).one()
        stage.name = "initialise"
        stage.config = {"backbone": {"arch": "alexnet"}, "calibrate": False}
    judged(api, hand, networks["teacher"], sheet({"conv1": 0.1}, checkpoint={}))
    assert [row["method"] for table in (4, 5) for row in rows(api, table)] == ["Random", "Random"]


def test_columns_of_one_checkpoint_share_a_row(api: TestClient, hand: Hand, networks: dict[str, str]) -> None:
    register_photographs(hand)
    hand.work_off()
    numbers = {
        "voc_classification": ({"class": 0.6}, "VOC2007", "mAP"),
        "voc_detection": ({"det_ss": 0.3, "det_ms": 0.35}, "VOC2007", "mAP"),
        "voc_segmentation": ({"segm": 0.2}, "VOC2012", "mIoU"),
    }
    for protocol, (values, dataset, metric) in numbers.items():
        found = sheet(
            values, protocol=ProtocolName(protocol), table=3, dataset=dataset, metric=metric, config={}, facts={}
        )
        judged(api, hand, networks["student"], found, protocol={"protocol": protocol}, dataset="voc")
    (row,) = rows(api, 3)
    assert {column: cell["value"] for column, cell in row["cells"].items()} == {
        "class": 0.6, "det_ss": 0.3, "det_ms": 0.35, "segm": 0.2,
    }  # fmt: skip
    assert [cell["metric"] for cell in row["cells"].values()] == ["mAP", "mAP", "mAP", "mIoU"]
    assert row["dataset"] == "voc"


def test_of_equal_evaluations_the_newest_is_shown_and_all_are_counted(
    api: TestClient, hand: Hand, networks: dict[str, str]
) -> None:
    student = networks["student"]
    judged(api, hand, student, sheet({"conv1": 0.5}))
    newest = judged(api, hand, student, sheet({"conv1": 0.6}), protocol={"protocol": "linear", "batch": 64})
    (row,) = rows(api, 4)
    cell = row["cells"]["conv1"]
    assert (cell["value"], cell["evaluation"], cell["evaluations"]) == (0.6, newest, 2)


def test_other_settings_have_a_row_of_their_own(api: TestClient, hand: Hand, networks: dict[str, str]) -> None:
    student = networks["student"]
    judged(api, hand, student, sheet({"conv1": 0.5, "conv2": 0.5}))
    shorter = sheet({"conv1": 0.4}, config={"protocol": "linear", "epochs": 3})
    judged(api, hand, student, shorter, protocol={"protocol": "linear", "epochs": 3})
    newer, older = rows(api, 4)
    assert [list(row["cells"]) for row in (newer, older)] == [["conv1"], ["conv1", "conv2"]]
    assert "3 epochs" in newer["differences"][0]


def test_a_taps_own_evaluation_fills_the_gap_in_its_row(api: TestClient, hand: Hand, networks: dict[str, str]) -> None:
    for tap in ("conv1", "conv2"):
        config = {"protocol": "linear", "taps": [tap]}
        judged(api, hand, networks["student"], sheet({tap: 0.5}, config=config), protocol=config)
    (row,) = rows(api, 4)
    assert list(row["cells"]) == ["conv1", "conv2"]


def test_protocols_outside_the_papers_tables_stay_outside(
    api: TestClient, hand: Hand, networks: dict[str, str]
) -> None:
    found = sheet({"conv5": 0.5}, protocol=ProtocolName.retrieval, table=None)
    judged(api, hand, networks["student"], found, protocol={"protocol": "retrieval"})
    assert [rows(api, table) for table in (3, 4, 5, 6)] == [[]] * 4


def test_a_row_outlives_its_dataset(api: TestClient, hand: Hand, networks: dict[str, str]) -> None:
    judged(api, hand, networks["student"], sheet({"conv1": 0.5}))
    api.delete("/datasets/cells")
    (row,) = rows(api, 4)
    assert row["dataset"] == "store-digest (deleted)"


def test_a_table_must_be_one_of_the_papers(api: TestClient) -> None:
    for params in ({}, {"table": "7"}, {"table": "four"}):
        answer = api.get("/leaderboard", params=params)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        assert answer.json()["errors"][0]["path"] == "query.table"
        assert answer.json()["errors"][0]["message"] in ("Field required", "Input should be 3, 4, 5 or 6")
