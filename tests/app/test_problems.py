"""Every error is problem+json, with a stable code, and never a trace."""

from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings


def check(answer: object, status: int, code: str) -> None:
    assert answer.status_code == status  # type: ignore[attr-defined]
    assert answer.headers["content-type"] == "application/problem+json"  # type: ignore[attr-defined]
    body = answer.json()  # type: ignore[attr-defined]
    assert body["status"] == status
    assert body["code"] == code
    assert body["detail"]


def test_whatever_goes_wrong_is_a_problem(api: TestClient) -> None:
    check(api.get("/nowhere"), 404, "not_found")
    check(api.put("/runs"), 405, "method_not_allowed")
    check(api.post("/runs", content=b"{"), 422, "invalid_request")
    check(api.post("/runs", json=[]), 422, "invalid_request")
    check(api.get("/artifacts/nobody"), 404, "artifact_not_found")
    check(api.get("/pseudo-label-sets/nobody"), 404, "pseudo_label_set_not_found")


def test_what_the_database_cant_hold_is_refused(api: TestClient) -> None:
    check(api.get("/runs/%00"), 422, "invalid_request")
    check(api.get("/runs", params={"dataset": "a\0"}), 422, "invalid_request")
    check(api.post("/runs", json={"dataset": "\0"}), 422, "invalid_request")


def test_every_unknown_setting_is_named(api: TestClient) -> None:
    body = {"name": "x", "source": {"kind": "folder", "root": "data", "path": "."}, "config": {"sidee": 1, "kk": 2}}
    answer = api.post("/datasets", json=body)
    check(answer, 422, "invalid_request")
    assert [error["path"] for error in answer.json()["errors"]] == ["config.sidee", "config.kk"]
    assert "such setting" in answer.json()["detail"]


def test_a_body_over_the_limit_is_refused_announced_or_not(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"max_body_bytes": 1000}))
    with TestClient(app, base_url="http://127.0.0.1") as api:
        check(api.post("/runs", content=b"x" * 1001), 413, "body_too_large")
        check(api.post("/runs", content=iter([b"x" * 600, b"x" * 600])), 413, "body_too_large")
        check(api.post("/runs", content=b"x" * 1000), 422, "invalid_request")


def test_a_bug_is_told_without_its_trace(settings: Settings) -> None:
    app = create_app(settings)

    def broken() -> None:
        raise RuntimeError("secret")

    app.add_api_route("/broken", broken)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as api:
        answer = api.get("/broken")
    check(answer, 500, "internal_error")
    assert "secret" not in answer.text


def test_a_foreign_host_header_is_refused(settings: Settings) -> None:
    with TestClient(create_app(settings), base_url="http://evil.example") as api:
        assert api.get("/healthz").status_code == 400


def test_browsers_may_not_guess_types(api: TestClient) -> None:
    assert api.get("/healthz").headers["x-content-type-options"] == "nosniff"


def test_operation_ids_are_unique_and_plain(api: TestClient) -> None:
    paths = api.get("/openapi.json").json()["paths"]
    ids = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert len(ids) == len(set(ids))
    assert all(name.isidentifier() for name in ids)
    problems = [operation["responses"]["4XX"] for methods in paths.values() for operation in methods.values()]
    assert all("application/problem+json" in problem["content"] for problem in problems)
