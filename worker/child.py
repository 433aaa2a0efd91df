"""One attempt at a stage, in a process of its own: `python -m worker.child --events-fd N`.

Only here, through the stage's module, is torch imported; when the process ends, all memory of the device is free.
"""

import argparse
import errno
import importlib
import math
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from io import FileIO
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

from pydantic import ValidationError

from worker.config.base import StageConfig
from worker.config.reasons import Reason
from worker.config.run import CONFIG_CLASSES
from worker.protocol import (
    EXIT_FAILED,
    EXIT_STOPPED,
    STOP,
    Failed,
    Finished,
    LogEntry,
    Message,
    MetricPoint,
    Progress,
    Resolved,
    Task,
)
from worker.protocol import Stopped as StoppedEvent
from worker.stages.contract import Inputs, Level, Result, StageError, Stopped

PROGRESS_SECONDS = 0.2
TRACEBACK_LINES = 12
DISK_RESERVE = 1 << 20
"""With fewer bytes left, an error of a library that names no cause is taken for a full disk."""


class EventStream:
    """The line to the supervisor; any thread of the stage may write."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._lock = threading.Lock()

    def send(self, event: Message) -> None:
        line = event.model_dump_json().encode() + b"\n"
        with self._lock:
            while line:
                line = line[self._file.write(line) :]


class ChildContext:
    """The `Context` of a stage that runs under a supervisor."""

    def __init__(self, task: Task, events: EventStream, stop: threading.Event) -> None:
        self.workdir = task.workdir
        self.resume_from = task.resume_from
        self.device = task.device
        self._events = events
        self._stop = stop
        self._newest: Progress | None = None
        self._lock = threading.Lock()

    def progress(self, done: int, total: int, unit: str) -> None:
        """Held back until `flush`, which follows within `PROGRESS_SECONDS`: only the newest is worth sending."""
        with self._lock:
            self._newest = Progress(done=done, total=total, unit=unit)

    def flush(self) -> None:
        with self._lock:
            if self._newest is not None:
                self._events.send(self._newest)
            self._newest = None

    def keep_flushing(self) -> None:
        while True:
            time.sleep(PROGRESS_SECONDS)
            self.flush()

    def metric(self, name: str, step: int, value: float) -> None:
        if math.isfinite(value):
            self._events.send(MetricPoint(name=name, step=step, value=value))
        else:
            self.log(f"{name} at step {step} is {value}", "warning")

    def log(self, message: str, level: Level = "info") -> None:
        self._events.send(LogEntry(level=level, message=message))

    def resolved(self, config: StageConfig) -> None:
        self._events.send(Resolved(config=config.model_dump(mode="json")))

    def should_stop(self) -> bool:
        return self._stop.is_set()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events-fd", type=int, required=True)
    events = EventStream(parser.parse_args().events_fd)
    # Unbuffered: a thread that waits inside a buffered stdin would disturb the interpreter's shutdown.
    orders = FileIO(0, closefd=False)
    task = Task.model_validate_json(orders.readline())
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_obey, args=(orders, stop), daemon=True).start()
    return execute(task, events, stop)


def _obey(orders: FileIO, stop: threading.Event) -> None:
    while line := orders.readline():
        if line == STOP:
            stop.set()
    _leave_with_group()


def _leave_with_group() -> None:
    """The supervisor is gone: nobody may write for this attempt any more, helper processes included."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(EXIT_FAILED)


def execute(task: Task, events: EventStream, stop: threading.Event) -> int:
    """Run the stage, tell how it ended, and return the exit code."""
    context = ChildContext(task, events, stop)
    threading.Thread(target=context.keep_flushing, daemon=True).start()
    try:
        result = run_stage(task, context)
    except Stopped:
        context.flush()
        events.send(StoppedEvent())
        return EXIT_STOPPED
    except BaseException as error:
        context.flush()
        events.send(failure(error, task.workdir))
        return EXIT_FAILED
    context.flush()
    events.send(Finished(outputs=result.produced()))
    return 0


def run_stage(task: Task, context: ChildContext) -> Result:
    """By convention `worker.stages.<name>` holds `run(config, inputs, context)`; its annotations name the classes."""
    module = importlib.import_module(f"worker.stages.{task.stage}")
    _require_device(task.device)
    config = _config(task)
    inputs = _inputs_class(module).model_validate(task.inputs)
    result = module.run(config, inputs, context)
    if not isinstance(result, Result):
        raise TypeError(f"stage {task.stage} returned {type(result).__name__}, not a Result")
    return result


def _config(task: Task) -> StageConfig:
    try:
        return CONFIG_CLASSES[task.stage].model_validate(task.config)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_url=False)
        )
        raise StageError(Reason.bad_config, f"The config does not fit the stage: {faults}.") from error


def _inputs_class(module: ModuleType) -> type[Inputs]:
    inputs: type[Inputs] = get_type_hints(module.run)["inputs"]
    return inputs


def _require_device(device: str) -> None:
    torch = sys.modules.get("torch")
    if device.startswith("cuda") and torch is not None and not torch.cuda.is_available():
        raise StageError(Reason.device_unavailable, f"The worker was given {device}, but PyTorch finds no GPU.")


def failure(error: BaseException, workdir: Path) -> Failed:
    """What to tell of an error; programs switch on the reason, so libraries' wordings are translated here."""
    if isinstance(error, StageError):
        return Failed(reason=error.reason, message=str(error))
    if _is_memory(error):
        return Failed(reason=Reason.out_of_memory, message=f"Not enough memory: {_first_line(error)}")
    if _is_disk(error, workdir):
        return Failed(reason=Reason.disk_full, message=f"No space left below {workdir}: {_first_line(error)}")
    lines = "".join(traceback.format_exception(error)).splitlines()
    return Failed(reason=Reason.crashed, message="\n".join(lines[-TRACEBACK_LINES:]))


def _is_memory(error: BaseException) -> bool:
    # torch.OutOfMemoryError by name, since this module must not import torch; the CPU allocator has no class at all.
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


def _is_disk(error: BaseException, workdir: Path) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return isinstance(error, OSError | RuntimeError) and shutil.disk_usage(workdir).free < DISK_RESERVE


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
