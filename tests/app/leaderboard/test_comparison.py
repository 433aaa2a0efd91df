"""Two checkpoints in pairs: the statistics against other people's, and what can't be compared."""

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from app.leaderboard.comparison import bonett_price, compared_column, sign_test
from tests.app.evaluations.judge import IMAGES, judged, register_photographs, sheet
from tests.app.hand import Hand
from worker.config.scores import ProtocolName
from worker.evaluation.interval import paired_difference

Json = dict[str, Any]
counts = st.integers(0, 400)


@given(counts, counts)
def test_the_p_value_is_the_exact_binomial_one(wins: int, losses: int) -> None:
    expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-9)


def test_a_p_value_of_many_images() -> None:
    assert sign_test(26_000, 24_000) == pytest.approx(binomtest(26_000, 50_000).pvalue, rel=1e-6)
    assert sign_test(50_000, 0) == 0.0


thirds = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


@given(thirds, st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_is_that_of_the_stages(pairs: list[tuple[int, int]], confidence: float) -> None:
    first, second = (np.array(side) / 3 for side in zip(*pairs, strict=True))
    expected = paired_difference(first, second, confidence)
    low, high = bonett_price(list(first - second), confidence)
    assert low == pytest.approx(max(-1, expected.low), abs=1e-12)
    assert high == pytest.approx(min(1, expected.high), abs=1e-12)


def test_plain_verdicts_are_compared_by_mcnemars_test() -> None:
    found = compared_column([1.0] * 8 + [0.0] * 2, [1.0] * 2 + [0.0] * 7 + [1.0], 0.95)
    assert (found.wins, found.losses, found.ties) == (6, 1, 3)
    assert (found.first, found.second) == (0.8, 0.3)
    assert found.difference == pytest.approx(0.5)
    assert found.p == pytest.approx(0.125)
    assert found.test == "exact McNemar"
    assert found.low < 0.5 < found.high


def test_averages_over_seeds_are_compared_by_the_sign_test() -> None:
    found = compared_column([1.0, 0.5, 0.0], [1.0, 0.0, 0.5], 0.95)
    assert (found.wins, found.losses, found.ties, found.test) == (1, 1, 1, "exact sign test")
    assert (found.p, found.beyond) == (1.0, False)


def test_a_network_against_itself_differs_by_nothing() -> None:
    found = compared_column([1.0, 0.0, 1.0], [1.0, 0.0, 1.0], 0.95)
    assert (found.difference, found.p, found.ties) == (0.0, 1.0, 3)
    assert found.low == -found.high


@pytest.fixture
def pair(api: TestClient, hand: Hand, networks: dict[str, str]) -> tuple[str, str]:
    """Two evaluations: the student is right on all images, the teacher on one; conv2 of the student alone."""
    student = sheet({"conv1": 1.0, "conv2": 0.5})
    right = {"conv1": [1, 1, 1, 1], "conv2": [1, 1, 0, 0]}
    shorter = sheet({"conv1": 0.25}, config={"protocol": "linear", "epochs": 3, "crop": 96})
    return (
        judged(api, hand, networks["student"], student, right),
        judged(api, hand, networks["teacher"], shorter, {"conv1": [0, 0, 0, 1]}),
    )


def ask(api: TestClient, first: str, second: str, **params: str) -> Json:
    answer = api.get("/evaluations/compare", params={"first": first, "second": second, **params})
    found: Json = answer.json()
    return found


def test_two_evaluations_are_compared_where_both_have_verdicts(api: TestClient, pair: tuple[str, str]) -> None:
    found = ask(api, *pair)
    assert (found["first"], found["second"], found["protocol"]) == (*pair, "linear")
    assert (found["images"], list(found["columns"])) == (4, ["conv1"])
    conv1 = found["columns"]["conv1"]
    assert (conv1["wins"], conv1["losses"], conv1["ties"], conv1["difference"]) == (3, 0, 1, 0.75)
    assert (conv1["p"], conv1["test"]) == (0.25, "exact McNemar")
    assert found["different_settings"] == {"epochs": ["30", "3"]}
    assert found["score"] == "1 where it is judged right, 0 where wrong, the mean over the seeds"
    turned = ask(api, *reversed(pair))["columns"]["conv1"]
    assert (turned["losses"], turned["difference"], turned["low"]) == (3, -0.75, -conv1["high"])


def test_a_comparison_as_markdown(api: TestClient, pair: tuple[str, str]) -> None:
    params = {"first": pair[0], "second": pair[1]}
    answer = api.get("/evaluations/compare", params=params, headers={"Accept": "text/markdown"})
    assert answer.headers["content-type"].startswith("text/markdown")
    assert "| conv1 | 100.0 | 25.0 | +75.0 |" in answer.text
    assert f"# [First](http://127.0.0.1/evaluations/{pair[0]}) (CC+vgg-Jigsaw++) and [Second]" in answer.text
    assert api.get("/evaluations/compare", params=params).json()["methods"][1] == "vgg-Jigsaw++"
    assert "- `epochs`: 30 and 3" in answer.text
    assert answer.text == api.get("/evaluations/compare", params={**params, "format": "md"}).text


def test_scores_that_are_not_the_metric_are_named(api: TestClient, hand: Hand, networks: dict[str, str]) -> None:
    graded = sheet({"segm": 0.1}, metric="mIoU", facts={"paired_score": "mean IoU within each image"})
    right = {"segm": [0.5, 0.25, 0, 0]}
    first, second = (judged(api, hand, networks[role], graded, right) for role in ("student", "teacher"))
    assert ask(api, first, second)["score"] == "mean IoU within each image"
    text = api.get("/evaluations/compare", params={"first": first, "second": second, "format": "md"}).text
    assert "In percent, the mean over the images. An image's score: mean IoU within each image." in text


def test_only_the_same_images_by_the_same_protocol_are_compared(
    api: TestClient, hand: Hand, networks: dict[str, str], pair: tuple[str, str]
) -> None:
    register_photographs(hand)
    hand.work_off()
    right = {"conv1": [1.0, 0, 0, 0]}

    def other(epochs: int, **fields: Any) -> str:  # noqa: ANN401
        images = fields.pop("images", IMAGES)
        found = sheet({"conv1": 0.25}, **fields)
        return judged(
            api, hand, networks["student"], found, right, images, protocol={"protocol": "linear", "epochs": epochs}
        )

    refused = {
        other(1, protocol=ProtocolName.nonlinear): "different_protocols",
        other(2, metric="mAP"): "different_protocols",
        other(3, dataset="another"): "different_images",
        other(4, images=IMAGES[::-1]): "different_images",
    }
    for evaluation, code in refused.items():
        problem = ask(api, pair[0], evaluation)
        assert (problem["status"], problem["code"]) == (422, code)
    assert ask(api, pair[0], "nobody")["code"] == "evaluation_not_found"
    assert ask(api, pair[0], pair[1], format="csv")["code"] == "invalid_request"


def test_without_verdicts_image_by_image_there_is_no_comparison(
    api: TestClient, hand: Hand, networks: dict[str, str]
) -> None:
    first = judged(api, hand, networks["student"], sheet({"conv1": 0.5}))
    second = judged(api, hand, networks["teacher"], sheet({"conv1": 0.5}))
    assert ask(api, first, second)["code"] == "not_comparable"
