"""One long-lived child process: started in its own session, logged to a file, stopped in order, never left behind."""

import contextlib
import os
import pwd
import signal
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

STOP_SECONDS = 30.0
KILL_SECONDS = 10.0
PAUSE = 0.05
LOG_TAIL = 15


class DaemonError(Exception):
    """A server could not be started; the message is for people and holds the end of its log."""


class Daemon:
    """`stop_signal` asks it to end; after `stop_seconds` its whole session is killed."""

    def __init__(
        self,
        name: str,
        log: Path,
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self.name = name
        self.log = log
        self.stop_signal = stop_signal
        self.stop_seconds = stop_seconds
        self.process: subprocess.Popen[bytes] | None = None

    def start(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        stdin: bytes = b"",
    ) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env=None if env is None else dict(env),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **_identity(user),
            )
        assert self.process.stdin is not None
        with self.process.stdin as pipe:
            pipe.write(stdin)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def exit_code(self) -> int | None:
        return None if self.process is None else self.process.poll()

    def require_alive(self) -> None:
        code = self.exit_code()
        if code is not None:
            raise DaemonError(f"{self.name} ended with exit code {code}; see {self.log}\n{self.log_tail()}")

    def log_tail(self, lines: int = LOG_TAIL) -> str:
        if not self.log.is_file():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def ask_to_stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(self.stop_signal)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Ask, wait, kill. Harmless when it is not running."""
        self.ask_to_stop()
        if self.process is None:
            return
        try:
            self.process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
        self.process = None


def stop_leftover(pid: int, folder: Path, stop_signal: signal.Signals) -> None:
    """End a server that outlived its keeper: `pid` if it still is a process working in `folder`."""
    try:
        process = psutil.Process(pid)
        if Path(process.cwd()) == folder.resolve():
            stop_process(process, stop_signal, STOP_SECONDS)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return


def stop_process(process: psutil.Process, stop_signal: int, seconds: float) -> None:
    """For a process that is not our child. psutil knows it by pid and start time, so a reused pid is left alone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(stop_signal)
        if not wait_gone(process, seconds):
            for left in (*process.children(recursive=True), process):
                left.kill()
            wait_gone(process, KILL_SECONDS)


def wait_gone(process: psutil.Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while _runs(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE)
    return True


def _runs(process: psutil.Process) -> bool:
    """A zombie does not run: where nobody reaps orphans it would be waited for in vain."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def service_user() -> str | None:
    """PostgreSQL refuses to run as root, so root starts the servers as `nobody`; everyone else as themselves."""
    return "nobody" if os.geteuid() == 0 else None


def give_to(folder: Path, user: str | None) -> None:
    """Make `folder` (0700, new or not) the user's own, and reachable."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    if user is None:
        return
    account = pwd.getpwnam(user)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    make_reachable(folder.parent)


def make_reachable(folder: Path) -> None:
    """Add the search bit (nothing becomes listable) to `folder` and those above it, as another user must pass them."""
    for path in (folder.resolve(), *folder.resolve().parents):
        mode = path.stat().st_mode
        if not mode & stat.S_IXOTH:
            path.chmod(mode | stat.S_IXOTH)


def _identity(user: str | None) -> dict[str, Any]:
    if user is None:
        return {}
    account = pwd.getpwnam(user)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
