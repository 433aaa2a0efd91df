import math

import pytest
import torch

from models.dense_heads import ChannelwiseLinear, DenseHead, InpaintingHead


def test_a_dense_head_answers_for_every_place() -> None:
    logits = DenseHead(8, classes=10, width=16, finer=2)(torch.rand(3, 8, 5, 4))
    assert logits.shape == (3, 10, 10, 8)
    assert DenseHead(8, classes=10, width=16)(torch.rand(3, 8, 5, 4)).shape == (3, 10, 5, 4)


def test_a_fresh_dense_head_guesses() -> None:
    torch.manual_seed(0)
    logits = DenseHead(8, classes=10, width=16)(torch.rand(3, 8, 5, 4))
    loss = torch.nn.functional.cross_entropy(logits, torch.zeros(3, 5, 4, dtype=torch.int64))
    assert float(loss.detach()) == pytest.approx(math.log(10), abs=0.1)


def test_channelwise_connections_join_the_places_of_a_channel_alone() -> None:
    layer = ChannelwiseLinear(channels=3, places=6)
    maps = torch.rand(2, 3, 2, 3)
    expected = torch.zeros_like(maps)
    for image in range(2):
        for channel in range(3):
            for place in range(6):
                row, column = divmod(place, 3)
                told = layer.weight[channel, :, place] * maps[image, channel].flatten()
                expected[image, channel, row, column] = told.sum().detach()
    torch.testing.assert_close(layer(maps).detach(), expected)


@pytest.mark.parametrize("doublings", [1, 3])
def test_the_decoder_doubles_the_side_each_time(doublings: int) -> None:
    head = InpaintingHead(channels=8, places=4, doublings=doublings, width=32)
    assert head(torch.rand(3, 8, 2, 2)).shape == (3, 3, 2 * 2**doublings, 2 * 2**doublings)
