import torch
from torch import nn

from worker.evaluation.learner import Learner, Recipe, half_cosine

INPUTS = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))


def test_logits_are_in_eval_mode_and_without_gradients() -> None:
    layer = nn.Linear(5, 3)
    layers = nn.Sequential(nn.Dropout(0.9), layer)
    learner = Learner(layers, Recipe(0.1, 0, half_cosine), 0, "layer", torch.device("cpu"), "fp32")
    learner.training_mode()
    found = learner.logits(INPUTS)
    torch.testing.assert_close(found, layer(INPUTS))
    assert not found.requires_grad
