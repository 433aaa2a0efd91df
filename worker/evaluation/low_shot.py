"""Linear probes that may learn from a share of the labels only."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from worker.config.probe import LowShotProtocol
from worker.evaluation.features import Features
from worker.evaluation.probe import standardised, train_probes
from worker.evaluation.score import Outcome, outcome
from worker.evaluation.split import ProbeSplit
from worker.evaluation.subject import Steps, Subject
from worker.evaluation.subset import teaching_subset
from worker.evaluation.taps import tap_shapes


def low_shot_linear(protocol: LowShotProtocol, subject: Subject, split: ProbeSplit) -> dict[str, Outcome]:
    """Columns `linear_<tap>_<share>`. Each seed draws its own images; batch norm knows only these."""
    shapes = tap_shapes(subject.record.backbone, protocol.taps, subject.view.crop, protocol.max_dims)
    drawn = {share: _drawn(split, subject.store.paths, share, protocol.seeds) for share in protocol.shares}
    needed = np.logical_or.reduce([split.held_out, *(rows for by_seed in drawn.values() for rows in by_seed)])
    probes = len(shapes) * len(protocol.shares) * len(protocol.seeds)
    steps = Steps(subject.batches(split.images[needed]) + probes * protocol.epochs, subject.context)
    network = subject.network()
    before = network.digest()
    features = subject.features(network, split.images[needed], shapes, protocol.resize, steps)
    unchanged = network.digest() == before
    return {
        f"linear_{tap}_{share:g}": _outcome(protocol, features[tap], split, needed, drawn[share], steps, unchanged)
        for tap in shapes
        for share in protocol.shares
    }


def _drawn(split: ProbeSplit, paths: Sequence[str], share: float, seeds: Sequence[int]) -> list[NDArray[np.bool_]]:
    return [teaching_subset(split, paths, share, seed) for seed in seeds]


def _outcome(
    protocol: LowShotProtocol,
    features: Features,
    split: ProbeSplit,
    needed: NDArray[np.bool_],
    drawn: Sequence[NDArray[np.bool_]],
    after_epoch: Callable[[], None],
    trunk_unchanged: bool,
) -> Outcome:
    """`needed` are the images that `features` are of; `drawn` those that teach, for each seed."""
    labels = torch.from_numpy(split.labels[needed])
    held = torch.from_numpy(np.flatnonzero(split.held_out[needed]))
    scores, taught = [], 0
    for seed, chosen in zip(protocol.seeds, drawn, strict=True):
        rows = torch.from_numpy(np.flatnonzero(chosen[needed]))
        seen = standardised(features, rows)
        probes = train_probes(seen, rows, labels[rows], len(split.classes), protocol.epochs, (seed,), after_epoch)
        scores.append(probes.scores(seen, held)[0])
        taught = len(rows)
    found = outcome(scores, labels[held].to(features.device))
    return Outcome(found.right, found.top5, trunk_unchanged, {"dim": features.dim, "taught": taught})
