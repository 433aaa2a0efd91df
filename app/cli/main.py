"""The command line: `passdown --help`. Thin over the client; exit codes below."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from app.cli import demo as demo_command
from app.cli import evaluations, processes, transfers
from app.cli import serve as serve_command
from app.cli.console import out, say
from app.cli.datasets import app as datasets_app
from app.cli.failures import EXIT_INTERRUPTED, FAILURES, exit_code
from app.cli.options import URL, Json, Url, artifact_by_role, config_of, folder_by_name
from app.cli.tables import checkpoints_table, runs_table
from app.cli.watching import watch_run
from app.client.client import PassdownClient
from app.client.models import Run

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Turns images into a backbone."
)
app.add_typer(datasets_app, name="datasets")
app.command()(processes.worker)
app.command()(processes.scheduler)
app.command()(processes.migrate)
app.command()(evaluations.evaluate)
app.command()(evaluations.leaderboard)

RunRef = Annotated[str, typer.Argument(metavar="RUN", help="The run's id or name.")]


@app.command()
def serve(
    data: Annotated[Path, typer.Option(help="Where everything is stored.")] = Path("data"),
    root: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FOLDER", help="Datasets may be registered from here. Repeatable.")
    ] = None,
    host: Annotated[str, typer.Option(help="The API asks nobody who they are: mind who reaches it.")] = "127.0.0.1",
    port: int = 8000,
    device: Annotated[
        list[str] | None, typer.Option(help="A worker for each: cpu, cuda, cuda:1. Default: one per GPU.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A name the API answers to besides localhost, or *. Repeatable.")
    ] = None,
) -> None:
    """Keep the whole service up on this machine until Ctrl-C."""
    variables = serve_command.allowed_hosts(allow_host or [])
    serve_command.serve(data, folder_by_name(root or []), host, port, device or [], variables)


@app.command()
def demo(
    images: Annotated[Path | None, typer.Option(help="Your own images. Default: photographs of solar cells.")] = None,
    minutes: Annotated[float, typer.Option(min=0.5, help="How long the run may take, on 2 CPU cores.")] = 10,
    out: Annotated[Path, typer.Option(help="Where the results go.")] = Path("demo-output"),
    data: Annotated[Path, typer.Option(help="Where the demo's own service keeps its data meanwhile.")] = Path("data"),
) -> None:
    """Run the whole method once, with a service of its own, and keep its results."""
    demo_command.run_demo(images, minutes, out, data)


@app.command()
def submit(
    dataset: Annotated[str, typer.Argument(help="The dataset's id or name.")],
    method: Annotated[
        str | None, typer.Option(help="cc, cc+hog, cc+random, regression, supervised or pretext. Default: cc.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="paper, small or demo.")] = None,
    config: Annotated[str | None, typer.Option(help="Overrides as JSON, or @file.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One override: cluster.k=100. Repeatable.")
    ] = None,
    k: Annotated[
        list[int] | None, typer.Option("--k", help="Clusters. Repeatable: a run for each, which share their teacher.")
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="ROLE=ARTIFACT", help="Start from what exists: teacher=mine. Repeatable."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name for the run; of several, the beginning.")] = None,
    device: Annotated[str | None, typer.Option(help="any, cpu or cuda.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and show how it goes.")] = False,
    url: Url = URL,
) -> None:
    """Ask for a run, or for one of each --k; prints their ids."""
    with PassdownClient(url) as client:
        fields: Json = {"method": method, "preset": preset, "name": name, "device": device}
        fields["inputs"] = artifact_by_role(given or [])
        overrides = config_of(config, setting or [])
        if k:
            made = client.create_sweep(dataset, k, config=overrides, **fields)
        else:
            made = [client.create_run(dataset, config=overrides, **fields)]
        for run in made:
            out.print(run.id)
        for run in made if watch else ():
            watch_run(client, run.id)


@app.command()
def watch(run: RunRef, url: Url = URL) -> None:
    """Show a run until it ends; exit code 0 only when it succeeded."""
    with PassdownClient(url) as client:
        watch_run(client, run)


@app.command()
def runs(limit: Annotated[int, typer.Option(min=1)] = 20, url: Url = URL) -> None:
    """List runs, the newest first."""
    with PassdownClient(url) as client:
        out.print(runs_table(client.runs(kind="pipeline"), limit))


@app.command()
def checkpoints(limit: Annotated[int, typer.Option(min=1)] = 20, url: Url = URL) -> None:
    """List networks, the newest first: what `evaluate` judges, and `submit --input teacher=...` starts from."""
    with PassdownClient(url) as client:
        out.print(checkpoints_table(client.checkpoints(), limit))


@app.command()
def cancel(run: RunRef, url: Url = URL) -> None:
    """Stop a run; what it has trained so far is kept for `resume`."""
    _tell(url, lambda client: client.cancel(run))


@app.command()
def resume(run: RunRef, url: Url = URL) -> None:
    """Take up a run that failed or was cancelled where it stopped."""
    _tell(url, lambda client: client.resume(run))


@app.command()
def download(
    run: RunRef,
    form: Annotated[
        list[str] | None, typer.Option("--format", help="safetensors, torchvision, onnx, pt2, or all. Repeatable.")
    ] = None,
    folder: Annotated[Path, typer.Option("--out", help="Where the files go.")] = Path(),
    url: Url = URL,
) -> None:
    """Fetch a run's weights, checked; goes on where an earlier download stopped."""
    with PassdownClient(url) as client:
        transfers.download_weights(client, run, form or ["safetensors"], folder)


def _tell(url: str, ask: Callable[[PassdownClient], Run]) -> None:
    with PassdownClient(url) as client:
        run = ask(client)
        out.print(f"{run.id} {run.state}")


def main() -> None:
    """One line for what goes wrong, and its exit code."""
    try:
        app()
    except FAILURES as error:
        say(f"error: {error}")
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
