import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder

from worker.evaluation.detectors.boxes import DEVIATIONS, decode, encode, mirrored


def drawn_boxes(seed: int, count: int = 20) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 300
    return torch.cat([corner, corner + 8 + torch.rand(count, 2, generator=generator) * 200], dim=1)


@given(st.integers(0, 10**6))
def test_decoding_inverts_encoding(seed: int) -> None:
    boxes, truths = drawn_boxes(seed), drawn_boxes(seed + 1)
    torch.testing.assert_close(decode(boxes, encode(boxes, truths)), truths, rtol=1e-4, atol=1e-2)


@given(st.integers(0, 10**6))
def test_shifts_are_torchvision_s(seed: int) -> None:
    boxes, truths = drawn_boxes(seed), drawn_boxes(seed + 1)
    coder = BoxCoder(tuple(1 / deviation for deviation in DEVIATIONS))
    torch.testing.assert_close(encode(boxes, truths), coder.encode_single(truths, boxes), rtol=1e-4, atol=1e-4)


def test_a_box_on_its_object_needs_no_shift() -> None:
    boxes = drawn_boxes(0)
    torch.testing.assert_close(encode(boxes, boxes), torch.zeros(20, 4))


def test_shifts_do_not_depend_on_the_scale_and_turn_sign_in_a_mirror() -> None:
    boxes, truths = drawn_boxes(0), drawn_boxes(1)
    shifts = encode(boxes, truths)
    torch.testing.assert_close(encode(boxes * 2.5, truths * 2.5), shifts, rtol=1e-4, atol=1e-4)
    turned = encode(mirrored(boxes, 500), mirrored(truths, 500))
    torch.testing.assert_close(turned, shifts * torch.tensor([-1.0, 1, 1, 1]), rtol=1e-4, atol=1e-4)


def test_a_box_grows_by_no_more_than_the_bound() -> None:
    grown = decode(torch.tensor([[0.0, 0, 16, 16]]), torch.full((1, 4), 1e6))
    torch.testing.assert_close(grown[:, 2:] - grown[:, :2], torch.full((1, 2), 1000.0), rtol=1e-3, atol=0)
