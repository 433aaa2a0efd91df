"""Whether a protocol can work on a checkpoint and a dataset, by what the registry knows of them."""

from collections.abc import Sequence

from app.artifacts.tables import Artifact
from app.datasets.tables import Dataset, Layout
from app.evaluations.schemas import AnyProtocol
from app.problems import FieldError, Problem
from models.config import BackboneConfig
from worker.config.probe import TAPS, ClusterProtocol, LowShotProtocol, NonlinearProtocol, Protocol
from worker.config.reasons import Reason
from worker.config.transfer import TransferProtocol, VocDetectionProtocol

COLUMNS = (*TAPS, "pool5", "fc6", "fc7")
"""Where a nonlinear probe may cut an AlexNet or VGG16; those that a checkpoint lacks for want of a classifier are left
out by the stage, which says so."""


def check_layout(protocol: AnyProtocol, dataset: Dataset, path: str) -> None:
    annotated = dataset.layout == Layout.voc
    transfer = isinstance(protocol, TransferProtocol)
    if transfer and not annotated:
        message = (
            f"`{protocol.protocol}` needs annotated photographs in PASCAL VOC's layout; {dataset.name!r} holds images."
        )
    elif annotated and not transfer:
        message = (
            f"`{protocol.protocol}` needs a dataset of labelled images; {dataset.name!r} is in PASCAL VOC's layout."
        )
    else:
        return
    raise refused("wrong_dataset_kind", path, message)


def check_network(protocol: AnyProtocol, backbone: BackboneConfig, path: str) -> None:
    """Refuses what the network doesn't have. Only building a library's network tells its maps: the stage does."""
    if backbone.library is not None:
        if isinstance(protocol, NonlinearProtocol | TransferProtocol):
            message = f"`{protocol.protocol}` takes a network apart: an AlexNet or VGG16, not {backbone.arch}."
            raise refused("wrong_network", path, message)
        return
    setting, asked, there = _maps(protocol)
    unknown = [name for name in dict.fromkeys(asked) if name not in there]
    if unknown:
        named, known = ", ".join(map(repr, unknown)), ", ".join(there)
        message = f"The checkpoint's network ({backbone.arch}) has no map called {named}; it has {known}."
        raise refused("unknown_tap", f"{path}.{setting}", message)


def check_store(protocol: AnyProtocol, store: Artifact, dataset: Dataset, path: str) -> None:
    """Refuses what these images are too few or too small for, or came without."""
    if isinstance(protocol, Protocol):
        _check_labelled(store, dataset)
        _check_crop(protocol, store.summary["side"], f"{path}.crop")
    if isinstance(protocol, ClusterProtocol):
        _check_k(protocol, store, f"{path}.k")
    if isinstance(protocol, VocDetectionProtocol):
        _check_proposals(protocol, store, dataset, f"{path}.proposals_source")


def refused(code: str, path: str, message: str) -> Problem:
    return Problem(422, code, message, [FieldError(path=path, message=message)])


def _maps(protocol: AnyProtocol) -> tuple[str, Sequence[str], Sequence[str]]:
    """The setting that names maps, the maps it names, and those that there are."""
    if isinstance(protocol, NonlinearProtocol):
        return "columns", protocol.columns, COLUMNS
    if isinstance(protocol, ClusterProtocol):
        return "tap", (protocol.tap,), TAPS
    if isinstance(protocol, TransferProtocol) or (
        isinstance(protocol, LowShotProtocol) and "linear" not in protocol.ways
    ):
        return "taps", (), TAPS
    return "taps", protocol.taps, TAPS


def _check_labelled(store: Artifact, dataset: Dataset) -> None:
    if store.summary.get("labelled") == 0:
        raise refused("unlabelled_dataset", "dataset", f"No image of {dataset.name!r} has a label to judge by.")


def _check_crop(protocol: Protocol, stored: int, path: str) -> None:
    within = stored if protocol.side == "auto" else protocol.side
    if protocol.crop != "auto" and protocol.crop > within:
        message = f"A crop of {protocol.crop} px can't be cut from images of {within} px."
        raise refused(Reason.images_too_small, path, message)


def _check_k(protocol: ClusterProtocol, store: Artifact, path: str) -> None:
    labelled = store.summary.get("labelled", store.summary["count"])
    clustered = min(labelled, protocol.split.max_images or labelled)
    if protocol.k != "auto" and protocol.k > clustered:
        raise refused(
            Reason.k_too_large, path, f"k = {protocol.k} clusters can't be made of {clustered} labelled images."
        )


def _check_proposals(protocol: VocDetectionProtocol, store: Artifact, dataset: Dataset, path: str) -> None:
    # Faster R-CNN proposes boxes itself.
    given = protocol.proposals_source == "given" and protocol.detector == "fast_rcnn"
    if given and not store.summary.get("proposals"):
        message = f"{dataset.name!r} was registered without `proposals.npz`: register it with them, or ask for others."
        raise refused("no_proposals", path, message)
