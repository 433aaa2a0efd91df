"""PostgreSQL and Valkey together, in one data folder that one process holds at a time."""

import fcntl
import json
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

from app.embedded.daemon import DaemonError
from app.embedded.guard import Guard
from app.embedded.postgres import Postgres
from app.embedded.valkey import Valkey


class Servers:
    """`with Servers(folder) as servers:` starts both and stops both; what they store stays in `folder`.

    Passwords are drawn once and kept in `folder/secrets.json` (0600). Raises DaemonError when another process
    holds the folder, a server is not installed, or one does not start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        postgres_port: int | None = None,
        valkey_port: int | None = None,
        durable: bool = True,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()
        passwords = _secrets(self.folder / "secrets.json")
        logs = self.folder / "logs"
        self.postgres = Postgres(
            self.folder / "postgres", passwords["postgres"], logs / "postgres.log", postgres_port, durable=durable
        )
        self.valkey = Valkey(self.folder / "valkey", passwords["valkey"], logs / "valkey.log", valkey_port)
        self.guard: Guard | None = None
        self._lock = -1

    def start(self) -> None:
        self._lock = _hold(self.folder / "lock")
        try:
            self.guard = Guard()
            self.postgres.start()
            self.guard.watch(self.postgres.daemon)
            self.valkey.start()
            self.guard.watch(self.valkey.daemon)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.valkey.stop()
        self.postgres.stop()
        if self.guard is not None:
            self.guard.close()
            self.guard = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _secrets(path: Path) -> dict[str, str]:
    if not path.is_file():
        drawn = {"postgres": secrets.token_urlsafe(24), "valkey": secrets.token_urlsafe(24)}
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(drawn))
        fresh.rename(path)
    found: dict[str, str] = json.loads(path.read_text())
    return found


def _hold(path: Path) -> int:
    """A lock that ends with this process, however it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise DaemonError(f"{path.parent} is in use by another passdown") from error
    return descriptor
