import torch

from worker.evaluation.ten_crops import mean_over_views, views


def numbered(side: int) -> torch.Tensor:
    """One image whose values name their place."""
    return torch.arange(side * side).reshape(1, 1, side, side).expand(1, 3, side, side)


def test_ten_views_are_four_corners_and_the_centre_each_also_mirrored() -> None:
    image = numbered(6)
    found = list(views(image, 4, 10))
    corners = [(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)]
    expected = []
    for top, left in corners:
        cut = image[:, :, top : top + 4, left : left + 4]
        expected += [cut, cut.flip(3)]
    assert len(found) == 10
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def test_one_view_is_the_centre() -> None:
    (view,) = views(numbered(6), 4, 1)
    assert torch.equal(view, numbered(6)[:, :, 1:5, 1:5])


def test_probabilities_are_averaged_after_the_softmax() -> None:
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 9

    def softmax(crops: torch.Tensor) -> torch.Tensor:
        return crops.flatten(1)[:, :5].softmax(1)

    found = mean_over_views(softmax, images, 5, 10)
    slow = torch.stack([torch.stack([softmax(view[None])[0] for view in _of(image)]).mean(0) for image in images])
    torch.testing.assert_close(found, slow)
    torch.testing.assert_close(found.sum(1), torch.ones(3))
    of_mean_logits = torch.stack([crops.flatten(1)[:, :5] for crops in views(images, 5, 10)]).mean(0).softmax(1)
    assert not torch.allclose(found, of_mean_logits, atol=1e-3)


def _of(image: torch.Tensor) -> list[torch.Tensor]:
    crops = []
    for top, left in ((0, 0), (0, 3), (3, 0), (3, 3), (1, 1)):
        cut = image[:, top : top + 5, left : left + 5]
        crops += [cut, cut.flip(2)]
    return crops
