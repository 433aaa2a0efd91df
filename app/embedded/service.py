"""The whole service on one machine: PostgreSQL, Valkey, API, scheduler and workers as child processes."""

import json
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from app.db.migrate import upgrade
from app.embedded.daemon import Daemon, DaemonError
from app.embedded.ports import LOOPBACK, is_free
from app.embedded.servers import Servers

READY_SECONDS = 60.0
LOOK_SECONDS = 0.5
DRAIN_SECONDS = 90.0
STEADY_SECONDS = 60.0
MAX_RESTARTS = 5
LONGEST_PAUSE = 30.0

Say = Callable[[str], None]


@dataclass
class Process:
    """A child of the service, and how often it had to be started again."""

    daemon: Daemon
    command: Sequence[str]
    started_at: float = 0.0
    restarts: int = 0
    restart_at: float | None = None


@dataclass
class Service:
    """`with Service(folder) as service: service.watch(stop)`; everything it stores stays in `folder`.

    `roots` are the folders that datasets may be registered from, by name. Raises DaemonError when something does
    not start, or keeps ending.
    """

    folder: Path
    roots: Mapping[str, Path]
    host: str = LOOPBACK
    port: int = 8000
    devices: Sequence[str] = ("auto",)
    durable: bool = True
    variables: Mapping[str, str] = field(default_factory=dict)
    """Further settings, as environment variables."""
    say: Say = lambda message: None

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        self.servers = Servers(self.folder, durable=self.durable)
        self.started = False
        self._processes: list[Process] = []

    @property
    def url(self) -> str:
        host = {"0.0.0.0": LOOPBACK, "::": "[::1]"}.get(self.host, self.host)
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        if not is_free(self.port, self.host):
            raise DaemonError(f"port {self.port} is in use: end what listens there, or choose another with --port")
        self.servers.start()
        try:
            upgrade(self.servers.postgres.url())
            self._write_environment()
            self._start_processes()
            self._wait_until_ready()
            self.started = True
        except BaseException:
            self.stop()
            raise

    def watch(self, stop: threading.Event) -> None:
        """Keep the children alive until `stop` is set."""
        while not stop.wait(LOOK_SECONDS):
            self.servers.postgres.daemon.require_alive()
            self.servers.valkey.daemon.require_alive()
            for process in self._processes:
                self._tend(process)

    def stop(self) -> None:
        """Workers first: they save what runs and give it back to the queue, while the database still answers."""
        for process in reversed(self._processes):
            process.daemon.ask_to_stop()
        for process in reversed(self._processes):
            process.daemon.stop()
        self._processes.clear()
        (self.folder / "service.env").unlink(missing_ok=True)
        self.servers.stop()

    def hurry(self) -> None:
        """Do not wait for a drain: a stage that runs is begun again from its last checkpoint."""
        for process in self._processes:
            process.daemon.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def environment(self) -> dict[str, str]:
        """The settings of everything that belongs to this service."""
        return {
            **self.variables,
            "PASSDOWN_DATABASE_URL": self.servers.postgres.url(),
            "PASSDOWN_BROKER_URL": self.servers.valkey.url(),
            "PASSDOWN_STORAGE_ROOT": str(self.folder / "storage"),
            "PASSDOWN_DATASET_ROOTS": json.dumps({name: str(path.resolve()) for name, path in self.roots.items()}),
        }

    def log_tails(self) -> str:
        tails = ((process.daemon.name, process.daemon.log_tail()) for process in self._processes)
        return "\n".join(f"--- {name}\n{tail}" for name, tail in tails if tail)

    def _write_environment(self) -> None:
        """For `passdown worker --data`, started beside this service. It holds the passwords, so only we may read it."""
        path = self.folder / "service.env"
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in self.environment().items()))

    def _start_processes(self) -> None:
        (self.folder / "storage").mkdir(exist_ok=True)
        python = (sys.executable, "-P", "-m")
        address = ("--host", self.host, "--port", str(self.port))
        api = ("uvicorn", "--factory", "app.main:create_app", *address, "--timeout-graceful-shutdown", "5")
        self._add("api", (*python, *api), 15)
        self._add("scheduler", (*python, "worker.scheduler"), 15)
        for number, device in enumerate(self.devices):
            name = "worker" if len(self.devices) == 1 else f"worker-{number}"
            self._add(name, (*python, "worker.main", "--device", device), DRAIN_SECONDS)

    def _add(self, name: str, command: Sequence[str], stop_seconds: float) -> None:
        daemon = Daemon(name, self.folder / "logs" / f"{name}.log", stop_seconds=stop_seconds)
        process = Process(daemon, command)
        self._processes.append(process)
        self._run(process)

    def _run(self, process: Process) -> None:
        process.daemon.start(process.command, env=os.environ | self.environment())
        process.started_at, process.restart_at = time.monotonic(), None
        if self.servers.guard is not None:
            self.servers.guard.watch(process.daemon)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not _answers(f"{self.url}/readyz"):
            for process in self._processes:
                process.daemon.require_alive()
            if time.monotonic() > deadline:
                raise DaemonError(f"the API was not ready within {READY_SECONDS:.0f} s\n{self.log_tails()}")
            time.sleep(0.1)

    def _tend(self, process: Process) -> None:
        """Start it again when it ended, later each time; give up when it keeps ending."""
        now = time.monotonic()
        code = process.daemon.exit_code()
        if code is None:
            if now - process.started_at > STEADY_SECONDS:
                process.restarts = 0
            return
        if process.restart_at is None:
            if process.restarts == MAX_RESTARTS:
                process.daemon.require_alive()
            pause = min(LONGEST_PAUSE, 2.0**process.restarts)
            process.restarts, process.restart_at = process.restarts + 1, now + pause
            self.say(f"{process.daemon.name} ended with exit code {code}; it is started again in {pause:.0f} s")
        elif now >= process.restart_at:
            self._run(process)


def gpu_devices() -> tuple[str, ...]:
    """A worker for each GPU; one that finds its device itself where there is at most one."""
    count = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return tuple(f"cuda:{number}" for number in range(count)) if count > 1 else ("auto",)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
