"""How long a stage will still take, told only once it is known well enough."""

import statistics
from collections import deque

WINDOW = 60
SPACING_SECONDS = 1.0
"""Samples closer together than this measure the noise."""
MIN_RATES = 5
MAX_SPREAD = 4.0


class Eta:
    """Median rate over a sliding window of samples; silent while the rates differ too much to mean anything."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        self._goal: tuple[int, str] | None = None

    def seconds(self, at: float, done: int, total: int, unit: str) -> float | None:
        """Seconds left at monotonic time `at`, or None while unsure."""
        if self._goal != (total, unit) or (self._samples and done < self._samples[-1][1]):
            self._goal = (total, unit)
            self._samples.clear()
        if not self._samples or (done > self._samples[-1][1] and at - self._samples[-1][0] >= SPACING_SECONDS):
            self._samples.append((at, done))
        pace = self._seconds_per_item()
        return None if pace is None else max(0.0, (total - done) * pace)

    def _seconds_per_item(self) -> float | None:
        pairs = zip(self._samples, list(self._samples)[1:], strict=False)
        paces = [(later - earlier) / (more - less) for (earlier, less), (later, more) in pairs]
        if len(paces) < MIN_RATES:
            return None
        low, median, high = statistics.quantiles(paces, n=4)
        return median if high <= MAX_SPREAD * low else None
