"""What a child told and Postgres doesn't know yet: written in batches, kept while Postgres is away."""

import time
from collections import deque
from typing import Any

from worker.eta import Eta
from worker.leases import Report
from worker.protocol import Event, LogEntry, MetricPoint, Progress, Resolved

MAX_WAITING = 20_000
"""Points and lines kept at most; the oldest go first."""


class Spool:
    def __init__(self) -> None:
        self._eta = Eta()
        self._metrics: deque[MetricPoint] = deque(maxlen=MAX_WAITING)
        self._logs: deque[LogEntry] = deque(maxlen=MAX_WAITING)
        self._progress: Progress | None = None
        self._eta_seconds: float | None = None
        self._config: dict[str, Any] | None = None
        self._changed = False

    def add(self, event: Event) -> None:
        match event:
            case Progress():
                self._progress = event
                self._eta_seconds = self._eta.seconds(time.monotonic(), event.done, event.total, event.unit)
            case MetricPoint():
                self._metrics.append(event)
            case LogEntry():
                self._logs.append(event)
            case Resolved():
                self._config = event.config
        self._changed = True

    def report(self) -> Report | None:
        """Everything that waits, or None when nothing does; call `clear` once it is written."""
        if not self._changed:
            return None
        return Report(
            progress=self._progress,
            eta_seconds=self._eta_seconds,
            metrics=tuple(self._metrics),
            logs=tuple(self._logs),
            config=self._config,
        )

    def clear(self) -> None:
        """Forget what was written. The progress stays: it is a state, not a message."""
        self._metrics.clear()
        self._logs.clear()
        self._config = None
        self._changed = False
