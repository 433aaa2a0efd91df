"""The user's own weights and labels come in as runs."""

from typing import Any

from fastapi.testclient import TestClient

from tests.app.hand import Hand

WEIGHTS = {"name": "mine", "backbone": {"arch": "vgg16"}, "crop": 200}


def upload(api: TestClient, filename: str) -> str:
    sent: str = api.post("/uploads", params={"filename": filename}, content=b"data").json()["id"]
    return sent


def test_imported_weights_get_their_name_and_teach(
    api: TestClient,
    hand: Hand,
    cells: dict[str, Any],
    submit: Any,  # noqa: ANN401
) -> None:
    answer = api.post("/checkpoints", json={**WEIGHTS, "upload": upload(api, "w.safetensors")})
    assert answer.status_code == 202
    run = answer.json()
    assert (run["kind"], run["stages"][0]["config"]["crop"]) == ("import_weights", 200)
    assert hand.work_off() == ["import_weights"]
    checkpoint = api.get("/checkpoints/mine").json()
    assert checkpoint["role"] == "checkpoint"
    taught = submit(inputs={"teacher": "mine"}, stages=["extract"])
    assert taught["inputs"] == {"teacher": checkpoint["id"]}
    assert hand.work_off() == ["extract"]


def test_a_library_s_network_is_imported_and_teaches_by_a_module_of_its_own(
    api: TestClient,
    hand: Hand,
    cells: dict[str, Any],
    submit: Any,  # noqa: ANN401
) -> None:
    body = {"name": "resnet", "backbone": {"arch": "torchvision:resnet18"}, "upload": upload(api, "r.safetensors")}
    assert api.post("/checkpoints", json=body).status_code == 202
    assert hand.work_off() == ["import_weights"]
    taught = submit(inputs={"teacher": "resnet"}, stages=["extract"], config={"extract": {"tap": "layer3"}})
    assert taught["stages"][0]["config"]["tap"] == "layer3"


def test_imported_labels_are_learned(api: TestClient, hand: Hand, cells: dict[str, Any], submit: Any) -> None:  # noqa: ANN401
    body = {"name": "theirs", "dataset": "cells", "upload": upload(api, "l.csv"), "allow_missing": True}
    assert api.post("/pseudo-label-sets", json=body).status_code == 202
    assert hand.work_off() == ["import_labels"]
    assert api.get("/pseudo-label-sets/theirs").json()["kind"] == "pseudo_label_set"
    submit(inputs={"labels": "theirs"})
    assert hand.work_off() == ["classify", "export", "evaluate", "report"]


def test_a_name_in_use_or_in_the_making_is_refused(api: TestClient, hand: Hand) -> None:
    body = {**WEIGHTS, "upload": upload(api, "w.safetensors")}
    api.post("/checkpoints", json=body)
    assert api.post("/checkpoints", json=body).json()["code"] == "name_taken"
    hand.work_off()
    answer = api.post("/checkpoints", json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")


def test_a_failed_import_leaves_its_name_free(api: TestClient, hand: Hand) -> None:
    body = {**WEIGHTS, "upload": upload(api, "w.safetensors")}
    api.post("/checkpoints", json=body)
    hand.fail(hand.claim("import_weights"), "weights_mismatch", "conv1 has no weights")
    assert api.get("/checkpoints/mine").status_code == 404
    assert api.post("/checkpoints", json=body).status_code == 202


def test_bad_imports_are_refused(api: TestClient, cells: dict[str, Any]) -> None:
    sent = upload(api, "w.safetensors")
    bad = [
        ({**WEIGHTS, "upload": "nobody"}, 404, "upload_not_found"),
        ({**WEIGHTS, "upload": cells["store"]}, 404, "upload_not_found"),
        ({**WEIGHTS, "upload": sent, "arch": "vgg"}, 422, "invalid_request"),
        ({**WEIGHTS, "upload": sent, "backbone": {"arch": "resnet"}}, 422, "invalid_request"),
        ({**WEIGHTS, "upload": sent, "backbone": {"arch": "timm:hf-hub:a/b"}}, 422, "invalid_request"),
    ]
    for body, status, code in bad:
        answer = api.post("/checkpoints", json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
