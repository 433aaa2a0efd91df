"""How an evaluation differs from the paper's, a sentence each."""

from collections.abc import Iterator, Mapping
from typing import Any

from models.config import Arch, BackboneConfig
from worker.config.probe import AnyProbe, LinearProtocol, NonlinearProtocol
from worker.data.store import ImageStore
from worker.evaluation.split import ProbeSplit, held_out_by_md5
from worker.evaluation.subject import Subject

PAPER_SIDE, PAPER_CROP, PAPER_CLASSES = 256, 227, (1000, 205)
"""Of Tables 4 to 6 (SPEC 8.4 to 8.6): ImageNet, and Places205 for Table 5."""
PAPER_DIMS, PAPER_WIDTH = 9600, 4096


def deviations(protocol: AnyProbe, subject: Subject, split: ProbeSplit | None) -> tuple[str, ...]:
    """Empty for protocols that the paper's tables don't have."""
    match protocol:
        case LinearProtocol():
            return (*_setting(subject, split), *_linear(protocol))
        case NonlinearProtocol():
            return (*_setting(subject, split), *_nonlinear(protocol))
        case _:
            return ()


def _setting(subject: Subject, split: ProbeSplit | None) -> Iterator[str]:
    view = subject.view
    if (view.side, view.crop) != (PAPER_SIDE, PAPER_CROP):
        yield f"Images of {view.side} pixels seen through a crop of {view.crop}; the paper has 256 and 227."
    if split is not None and len(split.classes) not in PAPER_CLASSES:
        yield f"{len(split.classes)} classes; the paper's datasets have 1000 and 205."
    if split is not None:
        held = len(split.judged)
        yield f"{len(split.images) - held} images teach and {held} judge, parted by the md5 of their path."
    if split is not None and split.dropped:
        dropped = ", ".join(f"{subject.store.classes[label]} ({count})" for label, count in split.dropped.items())
        yield f"Classes with too few images to teach or to judge are left out: {dropped}."
    if (told := _network(subject.record.backbone)) != "alexnet":
        yield f"The network is {told}; the paper's is alexnet."


def _network(backbone: BackboneConfig) -> str:
    told = [str(backbone.arch)]
    if backbone.library:
        return told[0]
    if backbone.width != 1:
        told.append(f"at {backbone.width:g} of its width")
    if backbone.is_alexnet and backbone.conv1_stride != 4:
        told.append(f"with stride {backbone.conv1_stride} in conv1")
    if backbone.norm == "batch" and backbone.arch is not Arch.vgg16:
        told.append("with batch norm")
    return " ".join(told)


def _linear(protocol: LinearProtocol) -> Iterator[str]:
    yield (
        f"{protocol.epochs} epochs over one centre crop of each image, the rate from the features' covariance along a "
        "half cosine; the paper has 28 epochs of random crops and mirroring at 0.01, divided by ten twice or thrice."
    )
    yield "Batch norm without affine uses the statistics of all teaching images, not of each batch."
    if protocol.resize != "bilinear":
        yield "Maps are averaged to their smaller size; the published probes interpolate."
    if protocol.max_dims != PAPER_DIMS:
        yield f"Maps are resized to at most {protocol.max_dims} values; the paper's have 9216 to 9600."


def _nonlinear(protocol: NonlinearProtocol) -> Iterator[str]:
    if protocol.width != PAPER_WIDTH:
        yield f"New fully connected layers have {protocol.width} outputs; the paper's have 4096."
    if protocol.crops != 10:
        yield "One crop of each image is judged; the paper averages ten."
    yield (
        f"{protocol.epochs:g} epochs of batches of {protocol.training_batch} from a rate of {protocol.lr:g} along a "
        "half cosine; the paper has about 90 of 256 from 0.01, divided by ten in steps."
    )


def labels_seen(subject: Subject, split: ProbeSplit | None) -> tuple[str, ...]:
    """Of a network that was taught classes: images that judge it though it has learnt their labels.

    Which labels were kept back depends on the paths, so of the same photographs in another store it is a guess.
    """
    training, store = subject.record.training, subject.store
    holdout = training.get("class_labels_holdout")
    if split is None or holdout is None or not _learnt_from(store, training):
        return ()
    judging = [store.paths[int(index)] for index in split.judged]
    seen = int((~held_out_by_md5(judging, holdout)).sum())
    if training.get("dataset") != store.digest:
        return (
            "The network was taught labels of the same photographs in another store: where their paths are the same, "
            f"those of {seen} of the {len(judging)} images that judge it.",
        )
    return (f"The network was taught the labels of {seen} of the {len(judging)} images that judge it.",) if seen else ()


def images_seen(subject: Subject, split: ProbeSplit | None) -> tuple[str, ...]:
    """Of a network that learnt, without labels or from pseudo-labels, from the very photographs that judge it.

    One that was taught classes learnt no image without its label: `labels_seen` tells of it.
    """
    training = subject.record.training
    learnt = _learnt_from(subject.store, training) and training.get("images_seen") != 0
    if split is None or not learnt or "class_labels_holdout" in training:
        return ()
    count = len(split.judged)
    return (f"The {count} images that judge are of the dataset that the network learnt from without labels.",)


def _learnt_from(store: ImageStore, training: Mapping[str, Any]) -> bool:
    """The store's photographs, all of them and no others, at any side and with any labels.

    One that shares only some of its photographs with the training's is another dataset. Checkpoints of earlier versions
    know the digest of their store alone.
    """
    return training.get("dataset") == store.digest or training.get("photographs") == store.photographs


def left_out(asked: AnyProbe, found: list[str]) -> tuple[str, ...]:
    """The columns that were asked for and can't be had."""
    if not isinstance(asked, NonlinearProtocol):
        return ()
    missing = [column for column in asked.columns if column not in found]
    return (f"Left out, because the checkpoint has no such layers: {', '.join(missing)}.",) if missing else ()
