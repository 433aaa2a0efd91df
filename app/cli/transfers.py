"""Uploads and downloads with a bar."""

from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from app.cli.console import err, out
from app.client.client import PassdownClient
from app.client.download import Advance
from app.client.models import Upload

FILES = {
    "safetensors": "alexnet.safetensors",
    "torchvision": "alexnet.torchvision.pth",
    "onnx": "alexnet.onnx",
    "pt2": "alexnet.pt2",
}


def download_weights(client: PassdownClient, run: str, forms: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for form in FILES if "all" in forms else forms:
        target = folder / FILES.get(form, f"alexnet.{form}")
        with _bar() as progress:
            digest = client.download_weights(run, form, target, _advance(progress, target.name))
        out.print(f"{digest}  {target}")


def upload(client: PassdownClient, path: Path) -> Upload:
    with _bar() as progress:
        return client.upload(path, _advance(progress, path.name))


def _advance(progress: Progress, name: str) -> Advance:
    task = progress.add_task(name, total=None)
    return lambda done, total: progress.update(task, completed=done, total=total)


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=err, disable=not err.is_terminal)
