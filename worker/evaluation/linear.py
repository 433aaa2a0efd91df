"""Linear probes of every tap and seed over features computed once (Tables 4 and 5; SPEC 8.4, 8.5)."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from worker.config.probe import LinearProtocol
from worker.evaluation.features import Features
from worker.evaluation.probe import standardised_in_place, train_probes
from worker.evaluation.score import Findings, Outcome, findings, outcome
from worker.evaluation.split import ProbeSplit
from worker.evaluation.subject import Steps, Subject
from worker.evaluation.taps import tap_shapes


def linear(protocol: LinearProtocol, subject: Subject, split: ProbeSplit) -> Findings:
    """Top-1 and top-5 of each tap. The network is only looked at, and its digest shows it."""
    shapes = tap_shapes(subject.record.backbone, protocol.taps, subject.view.crop, protocol.max_dims)
    steps = Steps(subject.batches(split.images) + len(shapes) * protocol.epochs, subject.context)
    network = subject.network()
    before, started = network.digest(), time.perf_counter()
    features = subject.features(network, split.images, shapes, protocol.resize, steps)
    computed = time.perf_counter()
    outcomes: dict[str, Outcome] = {}
    for number, (tap, shape) in enumerate(shapes.items(), start=1):
        # A tap's features go as soon as they are probed.
        found = linear_outcome(features.pop(tap), split, protocol.epochs, protocol.seeds, steps, shape=list(shape))
        subject.context.metric("top1", number, float(found.right.mean()))
        outcomes[tap] = found
    told = findings(outcomes, protocol.seeds, protocol.confidence)
    after = network.digest()
    seconds = {"features": computed - started, "probes": time.perf_counter() - computed}
    facts = {**told.facts, "seconds": seconds, "trunk_digest": {"before": before, "after": after}}
    return Findings(told.metric, told.cells, told.further, told.right, before == after, facts)


def linear_outcome(
    features: Features,
    split: ProbeSplit,
    epochs: int,
    seeds: Sequence[int],
    after_epoch: Callable[[], None],
    **facts: object,
) -> Outcome:
    """`features` in the order of the split's images; they may be changed."""
    labels = torch.from_numpy(split.labels)
    held = torch.from_numpy(np.flatnonzero(split.held_out))
    rest = torch.from_numpy(np.flatnonzero(~split.held_out))
    classes = len(split.classes)
    features = standardised_in_place(features, rest)
    probes = train_probes(features, rest, labels[rest], classes, epochs, seeds, after_epoch)
    return outcome(probes.scores(features, held), labels[held].to(features.device), dim=features.dim, **facts)
