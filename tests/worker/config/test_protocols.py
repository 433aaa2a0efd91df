"""What a protocol of an evaluation must be, and what no number may be."""

from math import inf, nan

import pytest
from pydantic import ValidationError

from worker.config.probe import ProbeConfig
from worker.config.scores import Cell
from worker.config.transfer import TransferConfig

REFUSED = [
    (ProbeConfig, {"protocol": "linear", "seeds": (0, 1, 0)}, "every seed may be named once"),
    (ProbeConfig, {"protocol": "low_shot", "seeds": ()}, "at least 1 item"),
    (TransferConfig, {"protocol": "voc_segmentation", "seeds": (3, 3)}, "every seed may be named once"),
    (TransferConfig, {"protocol": "voc_classification", "min_scale": 3.0}, "`min_scale` 3 is above `max_scale` 2"),
]


@pytest.mark.parametrize(("config", "protocol", "words"), REFUSED)
def test_what_can_t_be_measured_is_refused(
    config: type[ProbeConfig] | type[TransferConfig], protocol: dict[str, object], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        config.model_validate({"protocol": protocol})


@pytest.mark.parametrize("field", ["value", "low", "high"])
@pytest.mark.parametrize("number", [nan, inf])
def test_what_is_no_number_makes_no_cell(field: str, number: float) -> None:
    values = {"value": 0.5, "low": 0.4, "high": 0.6} | {field: number}
    with pytest.raises(ValidationError, match="finite number"):
        Cell(**values, interval="Wilson over images", n=4)
