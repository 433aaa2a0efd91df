"""Evaluations through the client."""

from pathlib import Path

import pytest
from PIL import Image

from app.client.client import PassdownClient
from app.client.errors import ApiError
from tests.app.evaluations.judge import finish, sheet
from tests.app.hand import Hand


@pytest.fixture
def run(client: PassdownClient, hand: Hand, dataset_root: Path) -> str:
    """A finished run on a dataset that is ready."""
    folder = dataset_root / "cells"
    folder.mkdir()
    Image.new("RGB", (40, 40)).save(folder / "one.png")
    client.register_folder("cells", "data", "cells", {"side": 160})
    hand.work_off()
    run = client.create_run("cells", preset="demo", config={"cluster": {"k": 2}})
    hand.work_off()
    return run.id


def test_a_checkpoint_is_judged_listed_compared_and_ranked(client: PassdownClient, hand: Hand, run: str) -> None:
    teacher, student = (one.id for one in client.run(run).artifacts if one.kind == "checkpoint")
    for checkpoint, right in ((teacher, [1, 0, 0, 0]), (student, [1, 1, 0, 0])):
        (judging,) = client.evaluate(checkpoint, "cells", [{"protocol": "linear"}], device="cpu")
        finish(hand, hand.claim("probe"), sheet({"conv1": sum(right) / 4}), {"conv1": right})
        assert client.wait(judging.id, every=0.01).state == "succeeded"
    newest, oldest = client.evaluations(protocol="linear")
    assert (newest.checkpoint, oldest.checkpoint) == (student, teacher)
    assert client.evaluation(newest.id).sheet["cells"]["conv1"]["value"] == 0.5
    assert client.compare(newest.id, oldest.id)["columns"]["conv1"]["wins"] == 1
    assert [row["method"] for row in client.leaderboard(4)["measured"]] == ["vgg-Jigsaw++", "CC+vgg-Jigsaw++"]
    assert client.leaderboard_text(4, "csv").count("\nmeasured,") == 2


def test_a_refusal_is_an_error_with_its_code(client: PassdownClient, run: str) -> None:
    with pytest.raises(ApiError) as refused:
        client.evaluate("nobody", "cells", [{"protocol": "linear"}])
    assert refused.value.code == "unknown_artifact"
