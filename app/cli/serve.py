"""`passdown serve`: the embedded service until Ctrl-C."""

import json
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from app.cli.console import say
from app.embedded.ports import LOOPBACK
from app.embedded.service import Service, gpu_devices


def serve(
    folder: Path,
    roots: Mapping[str, Path],
    host: str,
    port: int,
    devices: Sequence[str],
    variables: Mapping[str, str],
) -> None:
    """Raises DaemonError when it can't start, or when a part of it keeps ending."""
    stop = threading.Event()
    images = roots or _default_roots(folder)
    service = Service(folder, images, host, port, devices or gpu_devices(), variables=variables, say=say)
    _on_signals(service, stop)
    try:
        with service:
            say(_welcome(service))
            service.watch(stop)
            say("Stopping: what runs is saved and goes on with the next start.")
    finally:
        stop.set()
    say("Stopped.")


def allowed_hosts(names: Sequence[str]) -> dict[str, str]:
    """As a setting; nothing where no name was given."""
    return {"PASSDOWN_ALLOWED_HOSTS": json.dumps(["localhost", LOOPBACK, *names])} if names else {}


def _on_signals(service: Service, stop: threading.Event) -> None:
    """The first signal stops in order, the next one without waiting for what runs."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            service.hurry()
        elif service.started:
            stop.set()
        else:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, on_signal)


def _default_roots(folder: Path) -> dict[str, Path]:
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    return {"data": images}


def _welcome(service: Service) -> str:
    roots = ", ".join(f"{name} = {path.resolve()}" for name, path in service.roots.items())
    return f"Passdown is up at {service.url} (docs at {service.url}/docs; images: {roots}). Ctrl-C stops it."
