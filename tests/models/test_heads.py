import math

import pytest
import torch
from torchvision.models import alexnet

from models.heads import ClassifierHead, HeadNorm, PuzzleHead


def tiles(puzzles: int) -> torch.Tensor:
    return torch.randn(puzzles * 9, 16, 3, 3, generator=torch.Generator().manual_seed(0)).relu()


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_puzzles_nine_tiles_become_one_answer(norm: HeadNorm) -> None:
    head = PuzzleHead(144, fc6=24, fc7=32, classes=7, dropout=0.0, norm=norm)
    maps = tiles(4)
    embeddings = head.embed(maps)
    assert embeddings.shape == (36, 24)
    answers = head.solve(embeddings.reshape(4, 9, 24))
    assert answers.shape == (4, 7)
    head.eval()
    assert torch.equal(head(maps), head.solve(head.embed(maps).reshape(4, 9, 24)))


def test_a_puzzles_answer_depends_on_its_own_tiles_in_their_order() -> None:
    head = PuzzleHead(144, fc6=24, fc7=32, classes=7).eval()
    maps = tiles(2)
    answers = head(maps)
    swapped = maps.clone()
    swapped[[0, 1]] = maps[[1, 0]]
    assert not torch.allclose(head(swapped)[0], answers[0])
    torch.testing.assert_close(head(swapped)[1], answers[1])


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_puzzle_loss_starts_at_chance(norm: HeadNorm) -> None:
    torch.manual_seed(0)
    head = PuzzleHead(144, fc6=64, fc7=128, classes=701, norm=norm)
    loss = torch.nn.functional.cross_entropy(head(tiles(32)), torch.arange(32))
    assert loss.item() == pytest.approx(math.log(701), abs=0.1)


def test_the_released_start_is_gaussian() -> None:
    torch.manual_seed(0)
    head = PuzzleHead(144, fc6=64, fc7=128, classes=701, init="gaussian")
    fc7, fc8 = head.fc7[0], head.fc8
    assert isinstance(fc7, torch.nn.Linear)
    assert fc7.weight.std().item() == pytest.approx(0.005, rel=0.05)
    assert torch.equal(fc7.bias, torch.ones(128))
    assert fc8.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert torch.equal(fc8.bias, torch.zeros(701))


def test_the_classifier_has_torchvisions_names_and_shapes() -> None:
    with torch.device("meta"):
        ours = ClassifierHead(256, 10).state_dict()
        theirs = alexnet(num_classes=10).classifier.state_dict()
    assert {key: value.shape for key, value in ours.items()} == {
        f"classifier.{key}": value.shape for key, value in theirs.items()
    }


@pytest.mark.parametrize("side", [1, 3, 6, 9])
def test_the_classifier_reads_maps_of_any_size(side: int) -> None:
    assert ClassifierHead(8, 5, width=16)(torch.zeros(2, 8, side, side)).shape == (2, 5)
