from hypothesis import given
from hypothesis import strategies as st

from worker.eta import MIN_RATES, Eta


def test_a_steady_pace_tells_the_rest() -> None:
    eta = Eta()
    told = [eta.seconds(at=2.0 * done, done=done, total=100, unit="steps") for done in range(11)]
    assert told[-1] == 180


def test_nothing_is_told_before_there_are_enough_rates() -> None:
    eta = Eta()
    told = [eta.seconds(at=float(done), done=done, total=100, unit="steps") for done in range(MIN_RATES + 1)]
    assert told[:MIN_RATES] == [None] * MIN_RATES
    assert told[MIN_RATES] is not None


def test_nothing_is_told_while_the_pace_jumps_about() -> None:
    eta = Eta()
    at = 0.0
    for done in range(1, 21):
        at += 1 if done % 2 else 50
        told = eta.seconds(at, done, 100, "steps")
    assert told is None


def test_one_long_pause_changes_little() -> None:
    eta = Eta()
    for done in range(1, 21):
        told = eta.seconds(float(done) + (600 if done > 10 else 0), done, 100, "steps")
    assert told == 80


def test_another_unit_starts_afresh() -> None:
    eta = Eta()
    for done in range(1, 21):
        eta.seconds(float(done), done, 100, "steps")
    assert eta.seconds(30.0, 1, 100, "images") is None


@given(st.lists(st.tuples(st.floats(0.01, 100), st.integers(0, 50)), max_size=60))
def test_the_rest_is_never_negative(moves: list[tuple[float, int]]) -> None:
    eta = Eta()
    at, done = 0.0, 0
    for seconds, items in moves:
        at, done = at + seconds, done + items
        told = eta.seconds(at, done, 100, "steps")
        assert told is None or told >= 0
