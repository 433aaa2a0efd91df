"""Keeps a training within its minutes where the machine turns out slower than it was when it was measured."""

from worker.stages.measure import FEWEST_STEPS

LATE = 1.15
"""A training is shortened once it would take this many times its minutes (our choice)."""
FIRST_LOOK = 0.1
"""The share of the minutes after which the pace is first judged."""


def affordable_total(step: int, total: int, elapsed: float, budget: float) -> int:
    """How many steps the training shall have: `total`, or fewer where these would be late at the pace so far.

    `step` of them are done, in `elapsed` of `budget` seconds. Never fewer than one more step, nor than `FEWEST_STEPS`.
    """
    if step == 0 or elapsed < FIRST_LOOK * budget:
        return total
    each = elapsed / step
    if each * total <= LATE * budget:
        return total
    return min(total, max(FEWEST_STEPS, step + max(1, int((budget - elapsed) / each))))
