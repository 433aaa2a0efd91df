"""`passdown evaluate` and `passdown leaderboard`."""

import json
from typing import Annotated, Any

import typer

from app.cli.console import out
from app.cli.options import URL, Url, config_of
from app.cli.watching import watch_run
from app.client.client import PassdownClient

DEFAULT = "linear"


def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="The checkpoint's id or name.")],
    dataset: Annotated[str, typer.Argument(help="The id or name of the dataset to judge on.")],
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            help="linear, nonlinear, retrieval, low_shot, clusters; on a dataset in PASCAL VOC's layout "
            "voc_classification, voc_detection, voc_segmentation. Repeatable. Default: linear."
        ),
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting: linear.epochs=5. Repeatable.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="any, cpu or cuda.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and show how it goes.")] = False,
    url: Url = URL,
) -> None:
    """Judge a checkpoint; prints the id of a run for each protocol."""
    protocols = _protocols(protocol or [DEFAULT], setting or [])
    with PassdownClient(url) as client:
        runs = client.evaluate(checkpoint, dataset, protocols, device=device)
        for run in runs:
            out.print(run.id)
        for run in runs if watch else ():
            watch_run(client, run.id)


def leaderboard(
    table: Annotated[int, typer.Option(min=3, max=6, help="3: VOC; 4, 5: linear; 6: nonlinear.")] = 4,
    form: Annotated[str, typer.Option("--format", help="md, csv or json.")] = "md",
    url: Url = URL,
) -> None:
    """Print one of the paper's tables beside this service's own numbers."""
    with PassdownClient(url) as client:
        # As it came, for files and pipes: nothing in it is markup.
        typer.echo(client.leaderboard_text(table, form).rstrip("\n"))


def _protocols(names: list[str], settings: list[str]) -> list[dict[str, Any]]:
    """`linear` with `linear.epochs=5` -> `{"protocol": "linear", "epochs": 5}`."""
    given = config_of(None, settings)
    unknown = sorted(given.keys() - set(names))
    if unknown:
        raise typer.BadParameter(f"--set {unknown[0]}...: no such --protocol is asked for")
    protocols = []
    for name in names:
        own = given.get(name, {})
        if not isinstance(own, dict):
            raise typer.BadParameter(f"--set {name}={json.dumps(own)}: name a setting, such as {name}.seeds")
        protocols.append({"protocol": name, **own})
    return protocols
