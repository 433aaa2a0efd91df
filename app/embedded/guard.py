"""Ends the processes of a keeper that died without stopping them (`kill -9`, a crash).

A small process of its own: it hears of every process by a line `pid signal` on its standard input, and when that
closes, because its keeper ended in whichever way, it stops what still runs, the newest first.
"""

import contextlib
import subprocess
import sys

import psutil

from app.embedded.daemon import KILL_SECONDS, Daemon, stop_process


class Guard:
    """The keeper's side."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "app.embedded.guard"], stdin=subprocess.PIPE, start_new_session=True
        )

    def watch(self, daemon: Daemon) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{daemon.pid} {int(daemon.stop_signal)}\n".encode())
        self._process.stdin.flush()

    def close(self) -> None:
        """The guard ends by itself; whatever it watched is stopped, if that is still to do."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()


def main() -> None:
    watched: list[tuple[psutil.Process, int]] = []
    for line in sys.stdin:
        pid, stop_signal = line.split()
        with contextlib.suppress(psutil.NoSuchProcess):
            watched.append((psutil.Process(int(pid)), int(stop_signal)))
    for process, stop_signal in reversed(watched):
        stop_process(process, stop_signal, KILL_SECONDS)


if __name__ == "__main__":
    main()
