"""GET /evaluations: lists, and one with all that proves it."""

from typing import Any

from fastapi.testclient import TestClient

from tests.app.evaluations.judge import judged, register_photographs, sheet
from tests.app.hand import Hand
from worker.config.scores import ProtocolName

Json = dict[str, Any]


def test_an_evaluation_leads_back_to_images_teacher_and_configs(
    api: TestClient, hand: Hand, networks: dict[str, str]
) -> None:
    made = judged(api, hand, networks["student"], sheet({"conv1": 0.5}, revision="abc"))
    found = api.get(f"/evaluations/{made}").json()
    assert found["sheet"]["cells"]["conv1"]["value"] == 0.5
    assert found["sheet"]["revision"] == "abc"
    assert (found["checkpoint"], found["dataset"], found["stage"]) == (networks["student"], "cells", "probe")
    nodes = {node["artifact"]["id"]: node for node in found["lineage"]["nodes"]}
    assert nodes[made]["inputs"]["checkpoint"] == networks["student"]
    teacher = nodes[networks["teacher"]]["made_by"]
    assert (teacher["stage"], teacher["config"]["pretext"]["task"]) == ("pretrain", "jigsaw++")
    assert {node["made_by"]["stage"] for node in nodes.values()} == {
        "probe", "classify", "label", "cluster", "extract", "pretrain", "ingest",
    }  # fmt: skip


def test_every_link_of_an_evaluation_leads_somewhere(api: TestClient, hand: Hand, networks: dict[str, str]) -> None:
    made = judged(api, hand, networks["student"], sheet({"conv1": 0.5}))
    found = api.get(f"/evaluations/{made}").json()
    assert set(found["links"]) == {"evaluation", "artifact", "lineage", "run", "checkpoint", "dataset"}
    assert [api.get(link).status_code for link in found["links"].values()] == [200] * 6
    assert api.get(found["links"]["run"]).json()["id"] == found["run"]


def test_the_evaluation_outlives_its_dataset(api: TestClient, hand: Hand, networks: dict[str, str]) -> None:
    made = judged(api, hand, networks["student"], sheet({"conv1": 0.5}))
    assert api.delete("/datasets/cells").status_code == 204
    found = api.get(f"/evaluations/{made}").json()
    assert (found["dataset"], "dataset" in found["links"]) == (None, False)


def test_lists_are_narrowed_and_paged_newest_first(api: TestClient, hand: Hand, networks: dict[str, str]) -> None:
    register_photographs(hand)
    hand.work_off()
    student, teacher = networks["student"], networks["teacher"]
    first = judged(api, hand, student, sheet({"conv1": 0.5}))
    second = judged(api, hand, teacher, sheet({"conv1": 0.4}))
    voc = sheet({"class": 0.6}, protocol=ProtocolName.voc_classification, table=3)
    third = judged(api, hand, student, voc, protocol={"protocol": "voc_classification"}, dataset="voc")

    def listed(**params: Any) -> list[str]:  # noqa: ANN401
        return [one["id"] for one in api.get("/evaluations", params=params).json()["items"]]

    assert listed() == [third, second, first]
    assert listed(checkpoint=student) == [third, first]
    assert listed(protocol="linear") == [second, first]
    assert listed(protocol="linear", checkpoint=student) == [first]
    page = api.get("/evaluations", params={"limit": 2}).json()
    assert [one["id"] for one in page["items"]] == [third, second]
    assert listed(limit=2, cursor=page["next_cursor"]) == [first]
    assert api.get("/evaluations", params={"checkpoint": "nobody"}).json()["code"] == "checkpoint_not_found"
    assert api.get("/evaluations", params={"cursor": "x"}).json()["code"] == "bad_cursor"
    assert api.get("/evaluations", params={"protocol": "guess"}).json()["code"] == "invalid_request"


def test_what_a_pipeline_evaluates_on_its_way_is_no_evaluation_by_protocol(
    api: TestClient, networks: dict[str, str]
) -> None:
    assert api.get("/evaluations").json()["items"] == []
    answer = api.get(f"/evaluations/{networks['evaluation']}")
    assert (answer.status_code, answer.json()["code"]) == (404, "evaluation_not_found")
