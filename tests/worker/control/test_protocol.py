import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from worker.config.reasons import Reason
from worker.protocol import EVENT, Event, Failed, LogEntry, MetricPoint, Progress, Stopped, storable

TEXT = st.text(st.characters(exclude_categories=()))
EVENTS = st.one_of(
    st.builds(Progress, done=st.integers(0), total=st.integers(0), unit=TEXT),
    st.builds(
        MetricPoint,
        name=TEXT,
        step=st.integers(0),
        value=st.floats(allow_nan=False, allow_infinity=False),
        at=st.datetimes(),
    ),
    st.builds(LogEntry, level=st.sampled_from(["debug", "info", "warning", "error"]), message=TEXT, at=st.datetimes()),
    st.builds(Failed, reason=st.sampled_from(Reason), message=TEXT),
    st.builds(Stopped),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=10,
)


@given(EVENTS)
def test_an_event_survives_the_way_through_the_pipe_in_one_line(event: Event) -> None:
    line = event.model_dump_json()
    assert "\n" not in line
    assert EVENT.validate_json(line) == event


@given(JSON)
def test_what_postgres_can_store_has_no_nul_and_encodes(value: object) -> None:
    text = json.dumps(storable(value), ensure_ascii=False)
    text.encode()
    assert "\\u0000" not in text.replace("\\\\", "")


@given(JSON)
def test_cleaning_twice_is_cleaning_once(value: object) -> None:
    assert storable(storable(value)) == storable(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_curve_has_no_points_that_json_lacks(value: float) -> None:
    with pytest.raises(ValidationError):
        MetricPoint(name="loss", step=0, value=value)
