"""A run as it goes on: a live bar for each stage on a terminal, plain lines anywhere else."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from app.client.models import Stage

LINE_SECONDS = 15.0
MARKS = {"succeeded": "[green]done", "failed": "[red]failed", "cancelled": "[yellow]cancelled", "running": "[cyan]runs"}


class Board:
    """`with Board(console) as board: board.show(run.stages)` as often as you like."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines = _Lines(console)
        self._bars = _Bars(console) if console.is_terminal else None

    def show(self, stages: list[Stage]) -> None:
        (self._bars or self._lines).show(stages)

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.progress.stop()


class _Bars:
    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=32),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[amount]}", justify="right"),
            TextColumn("{task.fields[mark]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def show(self, stages: list[Stage]) -> None:
        for stage in stages:
            task = self._tasks.get(stage.name)
            if task is None:
                task = self.progress.add_task(stage.name, start=False, total=None, amount="", mark="")
                self._tasks[stage.name] = task
            self._update(task, stage)

    def _update(self, task: TaskID, stage: Stage) -> None:
        shown = self.progress.tasks[self.progress.task_ids.index(task)]
        if stage.state == "running" and shown.start_time is None:
            self.progress.start_task(task)
        done, total = stage.progress.done, stage.progress.total
        if stage.state == "succeeded":
            done = total = total or 1
        self.progress.update(
            task, completed=done, total=total or None, amount=_amount(stage), mark=MARKS.get(stage.state, stage.state)
        )
        if stage.state in ("succeeded", "failed", "cancelled"):
            self.progress.stop_task(task)


class _Lines:
    """A line when a stage changes its state, and every `LINE_SECONDS` while it runs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._states: dict[str, str] = {}
        self._told_at: dict[str, float] = {}

    def show(self, stages: list[Stage]) -> None:
        now = time.monotonic()
        for stage in stages:
            changed = self._states.get(stage.name, "pending") != stage.state
            due = stage.state == "running" and now - self._told_at.get(stage.name, now) >= LINE_SECONDS
            if changed or due:
                self._console.print(_line(stage), markup=False)
                self._told_at[stage.name] = now
            self._states[stage.name] = stage.state


def _line(stage: Stage) -> str:
    parts = [f"{stage.name}:", stage.state]
    if stage.state == "running" and stage.progress.total:
        parts += [f"{100 * stage.progress.done / stage.progress.total:.0f}%", f"({_amount(stage)})"]
    if stage.reason:
        parts.append(f"({stage.reason})")
    return " ".join(parts)


def _amount(stage: Stage) -> str:
    progress = stage.progress
    if not progress.total:
        return ""
    left = f", {duration(stage.eta_seconds)} left" if stage.state == "running" and stage.eta_seconds else ""
    return f"{progress.done:,}/{progress.total:,} {progress.unit or ''}{left}".strip()


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
