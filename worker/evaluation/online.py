"""A cheap early verdict on a network in training: nearest neighbours of a few labelled images."""

import numpy as np
import torch
from torch import Tensor

from models.backbone import Backbone
from models.pixels import Pixels
from worker.data.loader import BatchLoader
from worker.data.store import ImageStore
from worker.evaluation.features import ResidentFeatures
from worker.evaluation.knn import knn_predictions
from worker.evaluation.resize import resized
from worker.evaluation.split import ProbeSplit, split_labelled
from worker.evaluation.taps import View, tap_shapes
from worker.stages.frozen import centre_crop
from worker.stages.precision import Precision, autocast

MOST_IMAGES = 2000
HELD_OUT = 0.25
MAX_DIMS = 2304
"""A quarter of the probes' values: quick, and enough to see a training go wrong (our choices)."""
NEIGHBOURS = 20


def online_split(store: ImageStore, seed: int) -> ProbeSplit | None:
    """Up to 2000 labelled images, a quarter of which asks; None where fewer than two classes have enough."""
    split = split_labelled(store.paths, store.labels, HELD_OUT, MOST_IMAGES, seed)
    return split if split.usable else None


@torch.no_grad()
def online_knn(
    backbone: Backbone,
    pixels: Pixels,
    store: ImageStore,
    split: ProbeSplit,
    view: View,
    tap: str,
    device: torch.device,
    precision: Precision = "fp32",
    batch: int = 128,
) -> float:
    """Share of the split's held-out images whose 20 nearest among the others name their class.

    Maps of `tap` in eval mode, averaged to at most 2304 values. The backbone keeps its mode, weights and statistics,
    and no random number is drawn, so that a training goes on as if nobody had looked. Host and device wait for each
    other once, at the end.
    """
    shape = tap_shapes(backbone.config, [tap], view.crop, MAX_DIMS)[tap]
    batches = [split.images[start : start + batch] for start in range(0, len(split.images), batch)]
    was_training = backbone.training
    backbone.eval()
    rows: list[Tensor] = []
    try:
        with BatchLoader(store, batches, view.side, device) as loader:
            for images in loader:
                values = pixels.apply(centre_crop(images, view.crop))
                with autocast(precision, device):
                    maps = backbone.taps(values, [tap])[tap]
                rows.append(resized(maps, shape[1], "average"))
    finally:
        backbone.train(was_training)
    return _share_right(ResidentFeatures(torch.cat(rows)), split)


def _share_right(features: ResidentFeatures, split: ProbeSplit) -> float:
    labels = torch.from_numpy(split.labels).to(features.device)
    held = torch.from_numpy(np.flatnonzero(split.held_out)).to(features.device)
    rest = torch.from_numpy(np.flatnonzero(~split.held_out)).to(features.device)
    told = knn_predictions(features, held, rest, labels[rest], NEIGHBOURS, len(split.classes))
    return float((told == labels[held]).double().mean())
