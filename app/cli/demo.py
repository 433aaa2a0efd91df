"""`passdown demo`: the whole method once, through a service of its own, spoken to by the public client alone."""

import contextlib
import importlib.util
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from app.cli.console import err, say
from app.cli.failures import FAILURES, CommandError
from app.cli.progress import Board, duration
from app.cli.transfers import FILES
from app.client.client import PassdownClient
from app.client.models import Run, why
from app.embedded.daemon import DaemonError
from app.embedded.ports import free_port
from app.embedded.service import Service, gpu_devices

TRAINING_SHARE = 0.35
"""Of the minutes, for each of the two trainings; ingest, features, clustering and evaluation share the rest."""

SIDE = 160

FORMATS = ("safetensors", "torchvision", "onnx")
"""Each holds all of the weights, more than 200 MB, and is brought."""


@dataclass(frozen=True)
class Source:
    images: Path
    labels: str
    """As in the ingest config: the solar cells' labels are left out, a user's folders are looked at."""
    words: str


def run_demo(images: Path | None, minutes: float, out: Path, data: Path) -> None:
    """Raises CommandError, with the reason and the logs' ends, when anything fails."""
    source = _source(images)
    data.mkdir(parents=True, exist_ok=True)
    # Never the folder of a service that is up, or of an earlier demo: the run shall do its work, not find it done.
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir=data))
    _on_sigterm()
    started = time.monotonic()
    try:
        _demo(source, minutes, out, folder)
    except FAILURES as error:
        raise CommandError(f"the demo failed: {error}\nIts logs stay in {folder / 'logs'}") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    say(f"Done in {duration(time.monotonic() - started)}. The results are in {out}/: begin with {out}/report.md.")


def _demo(source: Source, minutes: float, out: Path, folder: Path) -> None:
    say(f"Starting a service of its own in {folder}")
    service = Service(folder, {"data": source.images}, port=free_port(), devices=gpu_devices()[:1])
    with service, _tended(service), PassdownClient(service.url) as client:
        try:
            with Board(err) as board:
                _ingest(client, source, board)
                run = _train(client, minutes, board)
        except FAILURES as error:
            raise CommandError(f"{error}\n{service.log_tails()}") from error
        _collect(client, run, out)
        say("Stopping the service")


def _source(images: Path | None) -> Source:
    if images is not None:
        if not images.is_dir():
            raise CommandError(f"{images} is not a folder")
        return Source(images, "auto", f"the images in {images}")
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise CommandError("the demo's photographs are not installed: pip install 'passdown[demo]', or give --images")
    folder = Path(spec.origin).parent / "data" / "images"
    return Source(folder, "none", "2,624 photographs of solar cells (elpv-dataset, CC BY-NC-SA 4.0)")


def _ingest(client: PassdownClient, source: Source, board: Board) -> None:
    say(f"Registering {source.words}")
    dataset = client.register_folder("images", "data", ".", {"side": SIDE, "labels": source.labels})
    _wait(client, dataset.run, board)


def _train(client: PassdownClient, minutes: float, board: Board) -> Run:
    schedule = {"schedule": {"minutes": round(minutes * TRAINING_SHARE, 3)}}
    config: dict[str, Any] = {"pretrain": schedule, "classify": schedule, "export": {"formats": FORMATS}}
    run = client.create_run("images", preset="demo", config=config)
    say(f"Run {run.id}: preset demo, {minutes:g} minutes")
    return _wait(client, run.id, board)


def _wait(client: PassdownClient, ref: str, board: Board) -> Run:
    run = client.wait(ref, lambda run: board.show(run.stages))
    if run.state != "succeeded":
        raise CommandError(f"run {run.id} {run.state}: {why(run)}")
    return run


def _collect(client: PassdownClient, run: Run, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    weights = run.artifact("weights")
    for form in FORMATS:
        client.download_weights(run.id, form, out / FILES[form])
    client.download_file(weights.id, "model_card.json", out / "model_card.json")
    client.download_labels(run.artifact("pseudo_label_set").id, "parquet", out / "pseudo_labels.parquet")
    client.download_file(run.artifact("centroids").id, "centroids.npy", out / "centroids.npy")
    for name in ("report.md", "clusters.png", "conv1.png", "preview.png"):
        client.download_file(run.artifact("report").id, name, out / name)


@contextlib.contextmanager
def _tended(service: Service) -> Iterator[None]:
    """The service's processes are watched beside the work that is done through it."""
    stop = threading.Event()
    thread = threading.Thread(target=_watch, args=(service, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _watch(service: Service, stop: threading.Event) -> None:
    """What can't be kept alive shows to the client soon enough: it gets no answer, or its run fails."""
    with contextlib.suppress(DaemonError):
        service.watch(stop)


def _on_sigterm() -> None:
    """Stop in order on SIGTERM too."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_signal)
