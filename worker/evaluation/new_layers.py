"""Layers that an evaluation puts on a checkpoint's."""

from torch import nn

from models.backbone import map_shape
from models.checkpoint import CheckpointRecord
from models.layers import init_he
from worker.config.reasons import Reason
from worker.stages.contract import StageError

DROPOUT = 0.5
LAST_STD = 0.01
"""Standard deviation of a new last layer's weights (SPEC 8.1)."""


def new_head(inputs: int, hidden: int, width: int, outputs: int, batch_norm: bool = False) -> nn.Sequential:
    """`hidden` layers of `width` under dropout and ReLU, and a linear layer on top (AlexNet's fc6, fc7, fc8 for two).

    Takes flat rows (N, inputs). Hidden layers start as in He et al., the last as N(0, 0.01); drawn from torch's global
    generator.
    """
    layers: list[nn.Module] = []
    for _ in range(hidden):
        norm = [nn.BatchNorm1d(width)] if batch_norm else []
        layers += [nn.Dropout(DROPOUT), nn.Linear(inputs, width), *norm, nn.ReLU(inplace=True)]
        inputs = width
    last = nn.Linear(inputs, outputs)
    init_he([*layers, last])
    nn.init.normal_(last.weight, std=LAST_STD)
    return nn.Sequential(*layers, last)


def check_input(record: CheckpointRecord, crop: int) -> None:
    """Raises `StageError(bad_config)` for a crop that the network shrinks to nothing."""
    try:
        map_shape(record.backbone, crop)
    except RuntimeError as error:
        message = f"A crop of {crop} pixels leaves nothing of this network's last map: choose a larger one."
        raise StageError(Reason.bad_config, message) from error
