"""How far an evaluation is, told about once a second."""

import time

from worker.stages.contract import Context, Stopped

TELL_SECONDS = 1.0


class Pulse:
    """Tells a context how far the work is, and ends it with `Stopped` where it was asked to stop."""

    def __init__(self, context: Context, total: int) -> None:
        """`total` steps, of whatever kinds, are the whole evaluation."""
        self.context = context
        self._total = total
        self._done = 0
        self._told = time.monotonic()

    def beat(self, steps: int = 1) -> None:
        """So many more steps are done."""
        self._done += steps
        if self.context.should_stop():
            raise Stopped
        if time.monotonic() - self._told >= TELL_SECONDS or self._done >= self._total:
            self._told = time.monotonic()
            self.context.progress(self._done, self._total, "steps")
