from pathlib import Path

import pytest
import torch

from worker.config.reasons import Reason
from worker.evaluation.loss_curves import LossCurves
from worker.stages.contract import StageError
from worker.stages.standalone import LocalContext


def test_a_point_is_the_mean_of_a_fiftieth(tmp_path: Path) -> None:
    context, curves = LocalContext(tmp_path), LossCurves({"a": "loss_a"}, 150)
    for step in range(1, 8):
        curves.add("a", torch.tensor(float(step)))
        curves.after_step(step, context)
    assert context.metrics == [("loss_a", 3, 2.0), ("loss_a", 6, 5.0)]
    assert curves.last == {"a": 5.0}
    assert curves.check(7) == {"a": 7.0}


def test_a_restored_curve_goes_on_between_two_points(tmp_path: Path) -> None:
    context, first = LocalContext(tmp_path), LossCurves({"a": "loss_a"}, 100)
    first.add("a", torch.tensor(1.0))
    first.after_step(1, context)
    second = LossCurves({"a": "loss_a"}, 100)
    second.restore(first.state())
    second.add("a", torch.tensor(2.0))
    second.after_step(2, context)
    assert context.metrics == [("loss_a", 2, 1.5)]


def test_a_loss_that_is_no_number_is_named(tmp_path: Path) -> None:
    curves = LossCurves({"fc6": "loss_fc6"}, 10)
    curves.add("fc6", torch.tensor(float("nan")))
    with pytest.raises(StageError, match="Training fc6 diverged at step 1") as caught:
        curves.after_step(1, LocalContext(tmp_path))
    assert caught.value.reason is Reason.diverged
