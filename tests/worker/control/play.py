"""A stage that plays the part its config names, so that a test decides when it moves and how it ends.

It counts to `steps`, saves how far it came, and goes on from what an earlier attempt saved.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

from worker.config.base import StageConfig
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.stages.contract import Context, Inputs, Produced, Result, StageError, Stopped

Fault = Literal["kill", "raise", "exit", "refuse", "memory", "disk", "nothing", "segfault"]


class PlayConfig(StageConfig):
    steps: int = 3
    gate: Path | None = None
    """The last step waits until this file is there."""
    deaf: bool = False
    """Never stops when asked."""
    fault: Fault | None = None
    faulty_attempts: int = 99
    helper: bool = False
    """Start a process that outlives its parent if nobody ends it."""


class PlayInputs(Inputs):
    pass


class PlayResult(Result):
    centroids: Produced | None = None


def run(config: PlayConfig, inputs: PlayInputs, context: Context) -> PlayResult:
    start = _saved(context.resume_from)
    sys.stdout.write("words that are no events\n")
    if config.helper:
        helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        context.log(f"helper {helper.pid}")
    context.log(f"from {start}")
    for step in range(start, config.steps):
        context.metric("count", step, float(step))
        (context.workdir / "saved").write_text(str(step))
        context.progress(step + 1, config.steps, "steps")
        if step == config.steps - 1:
            _wait(config, context)
    if config.fault is not None and int(context.workdir.name) <= config.faulty_attempts:
        return _fail(config.fault)
    return PlayResult(centroids=_output(context, start))


def _saved(folder: Path | None) -> int:
    return 0 if folder is None else int((folder / "saved").read_text())


def _wait(config: PlayConfig, context: Context) -> None:
    while config.gate is not None and not config.gate.exists():
        if context.should_stop() and not config.deaf:
            raise Stopped
        time.sleep(0.02)


def _fail(fault: Fault) -> PlayResult:
    match fault:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "raise":
            raise ZeroDivisionError("divided by nothing")
        case "exit":
            sys.stdout.write("last words\n")
            sys.stdout.flush()
            os._exit(3)
        case "refuse":
            raise StageError(Reason.k_too_large, "k = 9 clusters can't be made of 3 images.")
        case "memory":
            raise MemoryError("8 GiB more")
        case "disk":
            raise OSError(28, "No space left on device")
        case "nothing":
            pass
    return PlayResult()


def _output(context: Context, start: int) -> Produced:
    folder = context.workdir / "centroids"
    folder.mkdir()
    (folder / "clustering.json").write_text(json.dumps({"start": start}))
    return Produced(kind=ArtifactKind.centroids, path=folder, summary={"start": start})
