from hypothesis import given
from hypothesis import strategies as st

from worker.stages.measure import FEWEST_STEPS
from worker.stages.pace import affordable_total


def test_a_training_on_time_keeps_its_steps() -> None:
    assert affordable_total(step=200, total=1000, elapsed=20, budget=100) == 1000


def test_a_little_delay_changes_nothing() -> None:
    assert affordable_total(step=200, total=1000, elapsed=22, budget=100) == 1000


def test_the_pace_is_not_judged_before_a_tenth_of_the_time() -> None:
    assert affordable_total(step=1, total=1000, elapsed=9, budget=100) == 1000


def test_a_training_at_half_its_speed_gets_half_its_steps() -> None:
    assert affordable_total(step=100, total=1000, elapsed=20, budget=100) == 500


def test_a_training_out_of_time_takes_one_more_step() -> None:
    assert affordable_total(step=400, total=1000, elapsed=101, budget=100) == 401


@given(st.integers(1, 999), st.floats(0, 1e4), st.floats(1e-3, 1e4))
def test_steps_are_never_added_nor_taken_back(step: int, elapsed: float, budget: float) -> None:
    total = affordable_total(step, 1000, elapsed, budget)
    assert max(step, FEWEST_STEPS) <= total <= 1000
