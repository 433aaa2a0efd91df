import io

from rich.console import Console

from app.cli.progress import Board, duration
from app.client.models import Progress, Stage


def stage(name: str, state: str, done: int = 0, total: int = 0, reason: str | None = None) -> Stage:
    return Stage(name=name, state=state, reason=reason, progress=Progress(done=done, total=total, unit="images"))


def shown(*looks: list[Stage], terminal: bool = False) -> str:
    text = io.StringIO()
    with Board(Console(file=text, force_terminal=terminal, width=120)) as board:
        for stages in looks:
            board.show(stages)
    return text.getvalue()


def test_without_a_terminal_each_change_is_a_line() -> None:
    lines = shown(
        [stage("pretrain", "running", 3, 12), stage("extract", "pending")],
        [stage("pretrain", "running", 4, 12), stage("extract", "pending")],
        [stage("pretrain", "succeeded", 12, 12), stage("extract", "running")],
        [stage("pretrain", "succeeded", 12, 12), stage("extract", "failed", reason="disk_full")],
    ).splitlines()
    assert lines == [
        "pretrain: running 25% (3/12 images)",
        "pretrain: succeeded",
        "extract: running",
        "extract: failed (disk_full)",
    ]


def test_a_terminal_shows_a_bar_for_each_stage() -> None:
    text = shown([stage("pretrain", "running", 3, 12), stage("extract", "pending")], terminal=True)
    assert "pretrain" in text
    assert "25%" in text
    assert "3/12 images" in text
    assert "extract" in text


def test_a_stage_that_reports_no_amount_still_ends_full() -> None:
    assert "100%" in shown([stage("report", "succeeded")], terminal=True)


def test_durations_read_like_a_clock() -> None:
    assert duration(59.6) == "1:00"
    assert duration(3725) == "1:02:05"
