"""`passdown datasets`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli import transfers
from app.cli.console import out, say
from app.cli.failures import EXIT_FAILED
from app.cli.options import URL, Url, config_of
from app.cli.tables import datasets_table
from app.client.client import PassdownClient
from app.client.models import Dataset

app = typer.Typer(no_args_is_help=True, help="Register, list and delete datasets.")

Name = Annotated[str, typer.Argument(help="The dataset's name.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="side=160, labels=none, ...")]

LayoutName = Annotated[
    Literal["images", "voc"], typer.Option("--layout", help="voc: photographs with boxes and masks, to evaluate on.")
]


@app.command("list")
def list_datasets(limit: Annotated[int, typer.Option(min=1)] = 20, url: Url = URL) -> None:
    """List datasets, the newest first."""
    with PassdownClient(url) as client:
        out.print(datasets_table(client.datasets(), limit))


@app.command()
def register(
    name: Name,
    path: Annotated[str, typer.Argument(help="A folder below the root.")],
    root: Annotated[str, typer.Option(help="One of the service's own folders.")] = "data",
    layout: LayoutName = "images",
    setting: Settings = None,
    url: Url = URL,
) -> None:
    """Register a folder that the service can read; waits until its images are in the store."""
    with PassdownClient(url) as client:
        client.register_folder(name, root, path, config_of(None, setting or []), layout)
        _report(client.wait_for_dataset(name))


@app.command()
def upload(
    name: Name,
    archive: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A tar or zip of images.")],
    layout: LayoutName = "images",
    setting: Settings = None,
    url: Url = URL,
) -> None:
    """Send an archive of images and register it."""
    with PassdownClient(url) as client:
        sent = transfers.upload(client, archive)
        client.register_upload(name, sent.id, config_of(None, setting or []), layout)
        _report(client.wait_for_dataset(name))


@app.command()
def delete(name: Name, url: Url = URL) -> None:
    """Forget a dataset; its artifacts go once nothing needs them."""
    with PassdownClient(url) as client:
        client.delete_dataset(name)


def _report(dataset: Dataset) -> None:
    out.print(f"{dataset.id} {dataset.state}")
    if dataset.state != "ready":
        say(f"error: {dataset.detail or dataset.reason}")
        raise typer.Exit(EXIT_FAILED)
