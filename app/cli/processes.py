"""The service's parts one by one, for hosts of their own."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.cli.failures import CommandError

Data = Annotated[
    Path | None,
    typer.Option(help="Data folder of a `passdown serve` on this machine, instead of PASSDOWN_* variables."),
]


def worker(device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N or auto.")] = "auto", data: Data = None) -> None:
    """Run one more worker, for one device."""
    _become("worker.main", "--device", device, data=data)


def scheduler(data: Data = None) -> None:
    """Run the scheduler; several may run, one leads."""
    _become("worker.scheduler", data=data)


def migrate(data: Data = None) -> None:
    """Bring the database up to date."""
    _become("app.db.migrate", data=data)


def _become(module: str, *arguments: str, data: Path | None) -> None:
    environment = os.environ | (_settings_of(data) if data is not None else {})
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-P", "-m", module, *arguments], environment)


def _settings_of(data: Path) -> dict[str, str]:
    path = data / "service.env"
    if not path.is_file():
        raise CommandError(f"{path} is not there: is {data} the data folder of a `passdown serve`?")
    pairs = (shlex.split(line)[0].partition("=") for line in path.read_text().splitlines())
    return {name: value for name, _, value in pairs}
