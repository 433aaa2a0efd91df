import hashlib
import threading
from pathlib import Path

import pytest

from app.client.client import PassdownClient
from app.embedded.ports import free_port
from tests.app.cli.conftest import Command, work_off_once
from tests.app.hand import Hand
from worker.config.reasons import Reason


@pytest.mark.usefixtures("cells")
def test_submit_prints_the_runs_id_alone(
    command: Command, client: PassdownClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("submit", "cells", "--preset", "demo", "--set", "cluster.k=2", "--name", "mine") == 0
    run = client.run("mine")
    assert capsys.readouterr().out == f"{run.id}\n"
    cluster = next(stage for stage in run.stages if stage.name == "cluster")
    assert (cluster.model_extra or {})["config"]["k"] == 2


@pytest.mark.usefixtures("cells")
def test_submit_takes_a_method_and_several_ks(
    command: Command, client: PassdownClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("submit", "cells", "--preset", "demo", "--method", "cc+hog", "--k", "2", "--k", "3") == 0
    runs = [client.run(ref) for ref in capsys.readouterr().out.split()]
    assert runs[0].stages[0].name == "hog"
    ks = [(stage.model_extra or {})["config"]["k"] for run in runs for stage in run.stages if stage.name == "cluster"]
    assert ks == [2, 3]


@pytest.mark.usefixtures("cells")
def test_submit_starts_from_a_checkpoint_that_checkpoints_lists(
    command: Command, client: PassdownClient, hand: Hand, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = client.create_run("cells", preset="demo", config={"cluster": {"k": 2}}, name="earlier")
    hand.work_off()
    teacher = next(one.id for one in client.run(earlier.id).artifacts if one.role == "teacher")
    assert command("checkpoints") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:3] == [teacher, "earlier", "teacher"] for line in lines)
    words = ("submit", "cells", "--preset", "demo", "--set", "cluster.k=3", "--input", f"teacher={teacher}")
    assert command(*words) == 0
    run = client.run(capsys.readouterr().out.strip())
    assert "pretrain" not in [stage.name for stage in run.stages]


@pytest.mark.usefixtures("cells")
def test_watch_ends_with_zero_only_when_the_run_succeeded(
    command: Command, client: PassdownClient, hand: Hand, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"cluster": {"k": 2}}
    failed = client.create_run("cells", preset="demo", config=config)
    hand.fail(hand.claim("pretrain"), Reason.diverged, "The loss is not a number.")
    assert command("watch", failed.id) == 1
    assert f"Run {failed.id} failed: stage pretrain: diverged: The loss is not a number.\n" in capsys.readouterr().err
    good = client.create_run("cells", preset="demo", config=config)
    hand.work_off()
    assert command("watch", good.id) == 0
    assert "report: succeeded" in capsys.readouterr().err


@pytest.mark.usefixtures("cells")
def test_runs_are_listed_cancelled_and_resumed(
    command: Command, client: PassdownClient, capsys: pytest.CaptureFixture[str]
) -> None:
    run = client.create_run("cells", preset="demo", config={"cluster": {"k": 2}}, name="mine")
    assert command("cancel", "mine") == 0
    assert capsys.readouterr().out == f"{run.id} cancelled\n"
    assert command("resume", "mine") == 0
    assert capsys.readouterr().out == f"{run.id} queued\n"
    assert command("runs") == 0
    listed = capsys.readouterr().out
    assert run.id in listed
    assert "queued" in listed


@pytest.mark.usefixtures("cells")
def test_downloads_are_listed_as_sha256sum_does(
    command: Command, client: PassdownClient, hand: Hand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = client.create_run("cells", preset="demo", config={"cluster": {"k": 2}})
    hand.work_off()
    assert command("download", run.id, "--out", str(tmp_path / "got")) == 0
    target = tmp_path / "got" / "alexnet.safetensors"
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    assert capsys.readouterr().out == f"{digest}  {target}\n"


@pytest.mark.usefixtures("images")
def test_photographs_are_registered_by_their_layout(command: Command, client: PassdownClient, hand: Hand) -> None:
    worker = threading.Thread(target=work_off_once, args=(hand,))
    worker.start()
    assert command("datasets", "register", "voc", "cells", "--layout", "voc") == 0
    worker.join()
    assert (client.dataset("voc").model_extra or {})["layout"] == "voc"
    assert command("datasets", "register", "other", "cells", "--layout", "coco") != 0


@pytest.mark.usefixtures("images")
def test_a_dataset_is_registered_and_waited_for(
    command: Command, hand: Hand, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = threading.Thread(target=work_off_once, args=(hand,))
    worker.start()
    assert command("datasets", "register", "cells", "cells", "--set", "side=96") == 0
    worker.join()
    assert capsys.readouterr().out.endswith(" ready\n")
    assert command("datasets", "list") == 0
    assert "cells" in capsys.readouterr().out
    assert command("datasets", "delete", "cells") == 0


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (("watch", "other"), 3, "error: There is no run 'other'.\n"),
        (("submit", "other"), 3, "error: There is no dataset 'other'.\n"),
        (("submit", "cells", "--config", "@/no/such/file"), 1, "error: [Errno 2] No such file or directory"),
        (("worker", "--data", "/no/such/folder"), 1, "error: /no/such/folder/service.env is not there"),
        (("demo", "--images", "/no/such/folder"), 1, "error: /no/such/folder is not a folder\n"),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_code(
    command: Command, words: tuple[str, ...], code: int, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*words) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(error)
    assert told.err.count("\n") == 1


def test_no_service_is_code_four(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("PASSDOWN_URL", url)
    assert command("runs") == 4
    assert capsys.readouterr().err.startswith(f"error: no answer from {url}")


def test_wrong_usage_is_code_two(command: Command) -> None:
    assert command("submit") == 2
    assert command("submit", "cells", "--set", "k") == 2
