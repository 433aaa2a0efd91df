"""`/docs`: the API's reference, whole on a host without internet."""

import re

from fastapi.testclient import TestClient

TYPES = {"css": "text/css", "js": "text/javascript"}


def test_all_it_loads_comes_from_this_host(api: TestClient) -> None:
    page = api.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    loaded = re.findall(r'<(?:link rel="stylesheet" href|script src)="([^"]+)"', page.text)
    assert loaded == ["docs/assets/swagger-ui.css", "docs/assets/swagger-ui-bundle.js", "docs/start.js"]
    for name in loaded:
        answer = api.get(f"/{name}")
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (
            200,
            TYPES[name.rpartition(".")[2]],
        )
    assert not re.search(r"(href|src)=\"(https?:)?//", page.text)


def test_it_shows_the_service_own_routes(api: TestClient) -> None:
    (described,) = re.findall(r'url: "([^"]+)"', api.get("/docs/start.js").text)
    assert "/evaluations" in api.get(f"/{described}").json()["paths"]


def test_browsers_may_load_nothing_else(api: TestClient) -> None:
    policy = api.get("/docs").headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert (rules["script-src"], rules["style-src"], rules["connect-src"]) == ("'self'", "'self'", "'self'")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_an_answer_that_is_no_page_may_load_nothing(api: TestClient) -> None:
    assert api.get("/healthz").headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_the_root_leads_there_and_there_is_no_second_reference(api: TestClient) -> None:
    assert api.get("/").url.path == "/docs"
    assert api.get("/redoc").status_code == 404
    assert api.get("/docs/assets/nothing.js").json()["code"] == "not_found"
