import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.config.schedule import TrainingSchedule
from worker.stages.learning_rate import learning_rate


@pytest.mark.parametrize(
    ("progress", "rate"), [(0.0, 0.01), (0.39, 0.01), (0.4, 0.001), (0.69, 0.001), (0.7, 0.0001), (0.95, 0.00001)]
)
def test_steps_fall_by_gamma_at_each_milestone(progress: float, rate: float) -> None:
    assert learning_rate(TrainingSchedule(epochs=1, lr=0.01), progress) == pytest.approx(rate)


@pytest.mark.parametrize(("progress", "rate"), [(0.0, 0.4), (0.25, 0.341421), (0.5, 0.2), (1.0, 0.0)])
def test_the_cosine_falls_from_the_rate_to_zero(progress: float, rate: float) -> None:
    schedule = TrainingSchedule(epochs=1, lr=0.4, shape="cosine")
    assert learning_rate(schedule, progress) == pytest.approx(rate, abs=1e-6)


@pytest.mark.parametrize(("progress", "rate"), [(0.0, 0.0), (0.05, 0.2), (0.1, 0.4), (0.55, 0.2)])
def test_the_rate_warms_up_linearly_then_starts_its_fall(progress: float, rate: float) -> None:
    schedule = TrainingSchedule(epochs=1, lr=0.4, shape="cosine", warmup=0.1)
    assert learning_rate(schedule, progress) == pytest.approx(rate)


@given(
    progress=st.floats(0, 1),
    warmup=st.floats(0, 0.9),
    shape=st.sampled_from(["step", "cosine"]),
)
def test_the_rate_is_never_negative_nor_above_the_one_asked_for(progress: float, warmup: float, shape: str) -> None:
    schedule = TrainingSchedule.model_validate({"epochs": 1, "lr": 0.4, "shape": shape, "warmup": warmup})
    assert 0 <= learning_rate(schedule, progress) <= 0.4
