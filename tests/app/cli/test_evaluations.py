"""`passdown evaluate` and `passdown leaderboard`."""

import threading

import pytest

from app.client.client import PassdownClient
from tests.app.cli.conftest import Command, work_off_once
from tests.app.hand import Hand


@pytest.fixture
def student(client: PassdownClient, hand: Hand, cells: None) -> str:
    """A checkpoint of a finished run."""
    run = client.create_run("cells", preset="demo", config={"cluster": {"k": 2}})
    hand.work_off()
    return client.run(run.id).artifact("checkpoint").id


def test_evaluate_prints_a_run_for_each_protocol(
    command: Command, client: PassdownClient, student: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--protocol", "linear", "--protocol", "retrieval", "--set", "linear.epochs=3")
    assert command("evaluate", student, "cells", *words) == 0
    runs = [client.run(line) for line in capsys.readouterr().out.splitlines()]
    protocols = [(run.stages[0].model_extra or {})["config"]["protocol"] for run in runs]
    assert [one["protocol"] for one in protocols] == ["linear", "retrieval"]
    assert protocols[0]["epochs"] == 3


def test_evaluate_stays_until_all_is_judged(
    command: Command, client: PassdownClient, hand: Hand, student: str, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = threading.Thread(target=work_off_once, args=(hand,))
    worker.start()
    assert command("evaluate", student, "cells", "--watch") == 0
    worker.join()
    assert "succeeded" in capsys.readouterr().err
    assert [run.state for run in client.runs(kind="evaluation")] == ["succeeded"]


@pytest.mark.parametrize("setting", ["nonlinear.epochs=3", "linear=3"])
def test_evaluate_takes_settings_of_its_protocols_alone(command: Command, setting: str) -> None:
    assert command("evaluate", "any", "cells", "--set", setting) == 2


def test_leaderboard_prints_a_table(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("leaderboard", "--table", "3") == 0
    assert "| Random | [27] | 53.3 | 43.4 | - | 19.8 | quoted |" in capsys.readouterr().out
    assert command("leaderboard", "--format", "csv") == 0
    assert capsys.readouterr().out.startswith("source,method,ref,")
    assert command("leaderboard", "--format", "xls") == 3
    assert command("leaderboard", "--table", "2") == 2
