"""Staying with a run until it ends."""

import typer

from app.cli.console import err, say
from app.cli.failures import EXIT_FAILED
from app.cli.progress import Board
from app.client.client import PassdownClient
from app.client.models import Run, why


def watch_run(client: PassdownClient, ref: str) -> None:
    """Shows how it goes; ends the command with exit code 1 unless it succeeds."""
    with Board(err) as board:
        run = client.wait(ref, lambda run: board.show(run.stages))
    require_success(run)


def require_success(run: Run) -> None:
    if run.state != "succeeded":
        say(f"Run {run.id} {run.state}: {why(run)}")
        raise typer.Exit(EXIT_FAILED)
    say(f"Run {run.id} succeeded.")
