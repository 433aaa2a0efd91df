"""Trained networks in the formats people load, with batch norm folded in.

Every exported network reads (N, 3, h, w) float32, already normalised as its record's `pixels` says, for any N.
Files are written through Python's own file objects, whose errors name a full disk; torch's and safetensors' don't.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from models.backbone import Backbone
from models.checkpoint import CheckpointRecord
from models.classifier import Classifier
from models.config import Arch
from models.fold import fold_backbone, fold_classifier
from models.heads import ClassifierHead
from models.load import METADATA_KEY

TORCHVISION_WIDTH = 4096


def folded_classifier(
    record: CheckpointRecord, backbone: Backbone, head: ClassifierHead
) -> tuple[CheckpointRecord, Classifier]:
    """The student without batch norm, in eval mode, and the record that describes it."""
    net = Classifier(fold_backbone(backbone), fold_classifier(head)).eval()
    folded_head = {"width": head.width, "dropout": head.dropout}
    return record.model_copy(update={"backbone": net.backbone.config, "head": folded_head}), net


def folded_backbone(record: CheckpointRecord, backbone: Backbone) -> tuple[CheckpointRecord, Backbone]:
    """A teacher's convolutions without batch norm, in eval mode, and the record that describes them."""
    folded = fold_backbone(backbone)
    return record.model_copy(update={"backbone": folded.config, "head": {}, "classes": 0}), folded


def torchvision_misfit(record: CheckpointRecord) -> str | None:
    """Why `torchvision.models.alexnet` can't be this network, or None when it can."""
    config = record.backbone
    if config.arch is not Arch.alexnet_torchvision:
        return f"arch is {config.arch}, not {Arch.alexnet_torchvision}"
    if config.width != 1:
        return f"width is {config.width:g}, not 1"
    if config.conv1_stride != 4:
        return f"conv1's stride is {config.conv1_stride}, not 4"
    if record.head.get("width", TORCHVISION_WIDTH) != TORCHVISION_WIDTH:
        return f"the head's width is {record.head['width']}, not {TORCHVISION_WIDTH}"
    return None


def write_safetensors(path: Path, record: CheckpointRecord, weights: dict[str, Tensor]) -> None:
    """Folded weights under torchvision's names, with the record in the header; `models.load` reads them."""
    from safetensors.torch import save

    metadata = {"format": "pt", METADATA_KEY: record.model_dump_json()}
    path.write_bytes(save(_plain(weights), metadata=metadata))


def write_torchvision(path: Path, net: Classifier) -> None:
    """A state_dict for `torchvision.models.alexnet(num_classes=...)`, strict."""
    with path.open("wb") as file:
        torch.save(_plain(net.weights()), file)


def write_onnx(path: Path, net: nn.Module, side: int, opset: int) -> None:
    """One file, input `image` (N, 3, side, side), output `logits` (N, classes); checked by `onnx.checker`."""
    import onnx

    batch = torch.export.Dim("batch", min=1)
    with _quiet():
        program = torch.onnx.export(
            net,
            (torch.zeros(2, 3, side, side),),
            dynamo=True,
            opset_version=opset,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes={"image": {0: batch}},
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces: paths of the machine that exported
    program.save(str(path), external_data=False)
    onnx.checker.check_model(str(path))


def write_pt2(path: Path, net: nn.Module, side: int) -> None:
    """A torch.export program for (N, 3, side, side): `torch.export.load(path).module()` needs torch alone."""
    batch = torch.export.Dim("batch", min=1)
    with _quiet():
        program = torch.export.export(
            net, (torch.zeros(2, 3, side, side),), dynamic_shapes={"image": {0: batch}}, strict=False
        )
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # paths of the machine that exported
        with path.open("wb") as file:
            torch.export.save(program, file)


def _plain(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies with memory of their own, as file formats want them."""
    return {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in weights.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters warn about their own deprecated internals and log every pass; neither is about this network."""
    noisy = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in noisy]
    for logger in noisy:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(noisy, levels, strict=True):
            logger.setLevel(level)
