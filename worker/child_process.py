"""A child process as its supervisor holds it."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from worker.device import visible_gpu
from worker.protocol import EVENT, STOP, Event, Task

CHILD_COMMAND = (sys.executable, "-P", "-m", "worker.child")
PACKAGES = Path(__file__).resolve().parents[1]
TAIL_BYTES = 8192
READERS_SECONDS = 5
"""A helper process that left the child's group may hold the pipes open; nobody waits for it longer than this."""
KEPT_VARIABLES = (
    "CUDA",
    "HOME",
    "LANG",
    "LC_",
    "LD_LIBRARY_PATH",
    "MKL_",
    "NVIDIA_",
    "OMP_",
    "PATH",
    "PYTHON",
    "PYTORCH_",
    "TEMP",
    "TMP",
    "TORCH",
    "TZ",
    "VIRTUAL_ENV",
    "XDG_CACHE_HOME",
)
"""Prefixes of what a child inherits. Passwords stay with the supervisor."""

log = structlog.get_logger(__name__)


def child_environment(parent: Mapping[str, str], device: str) -> dict[str, str]:
    """What the child inherits, with the worker's one device as the only one it can see."""
    kept = {name: value for name, value in parent.items() if name.startswith(KEPT_VARIABLES)}
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PACKAGES), parent.get("PYTHONPATH")]))
    # Numbered as nvidia-smi does, not by speed.
    kept.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    gpu = visible_gpu(device, parent)
    if gpu is not None:
        kept["CUDA_VISIBLE_DEVICES"] = gpu
    return kept


class ChildProcess:
    """A child in its own session: order it to stop, kill its whole group, read its events and its last words."""

    def __init__(self, command: Sequence[str], task: Task, environment: Mapping[str, str]) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._tail = b""
        events, child_end = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*command, "--events-fd", str(child_end)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                pass_fds=(child_end,),
                start_new_session=True,
                cwd=task.workdir,
                env=dict(environment),
            )
        except BaseException:
            os.close(events)
            raise
        finally:
            os.close(child_end)
        assert self._process.stdin is not None
        self._stdin = self._process.stdin
        self._threads = [
            threading.Thread(target=self._read_events, args=(events,), daemon=True),
            threading.Thread(target=self._read_words, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self._write(task.model_dump_json().encode() + b"\n")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def last_words(self) -> str:
        """The end of what the child printed."""
        return self._tail.decode(errors="replace").replace("\0", "").strip()

    def exited(self) -> bool:
        """True once the child ended. It is not reaped yet, so that its group can't be mistaken for another's."""
        options = os.WEXITED | os.WNOWAIT | os.WNOHANG
        return os.waitid(os.P_PID, self.pid, options) is not None

    def stop(self) -> None:
        """Ask the stage to save its state and leave."""
        self._write(STOP)

    def kill(self) -> None:
        """End the child and all that it started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> int:
        """Make sure that nothing of the child is left; its exit code, negative for a signal.

        Events that were sent before it ended are in `events` afterwards.
        """
        if self._process.returncode is None:
            self.kill()
            self._process.wait()
            for thread in self._threads:
                thread.join(timeout=READERS_SECONDS)
            self._stdin.close()
        return self._process.returncode

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(data)

    def _read_events(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as lines:
            for line in lines:
                try:
                    self.events.put(EVENT.validate_json(line))
                except ValueError:
                    log.warning("event_unreadable", line=line[:200].decode(errors="replace"))

    def _read_words(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        with stdout:
            while chunk := stdout.read(TAIL_BYTES):
                self._tail = (self._tail + chunk)[-TAIL_BYTES:]
