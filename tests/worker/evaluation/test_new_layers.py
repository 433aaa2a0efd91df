import pytest
import torch
from torch import nn

from worker.evaluation.new_layers import new_head


def test_a_new_head_is_alexnet_s_with_two_hidden_layers() -> None:
    torch.manual_seed(0)
    head = new_head(100, 2, 300, 20)
    kinds = [type(layer).__name__ for layer in head]
    assert kinds == ["Dropout", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Linear"]
    linears = [layer for layer in head if isinstance(layer, nn.Linear)]
    stds = [layer.weight.std().item() for layer in linears]
    assert stds == pytest.approx([(2 / 100) ** 0.5, (2 / 300) ** 0.5, 0.01], rel=0.05)
    assert all(not layer.bias.any() for layer in linears)
