"""Batch norm folded into the layer before it: the same function in eval mode, with the published layers only."""

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from models.backbone import Backbone, LayeredBackbone, empty_backbone
from models.checkpoint import fill
from models.heads import ClassifierHead


def fold_backbone(backbone: Backbone) -> Backbone:
    """The same backbone without batch norm (its config says `norm="none"`), in eval mode; `lrn` stays.

    A library's network comes back as it is.
    """
    if not isinstance(backbone, LayeredBackbone):
        return backbone.eval()
    config = backbone.config
    if config.norm == "batch":
        config = config.model_copy(update={"norm": "none"})
    folded = empty_backbone(config)
    fill(folded, _folded(backbone.features, "features"))
    return folded.eval()


def fold_classifier(head: ClassifierHead) -> ClassifierHead:
    """The same head without batch norm, so that its keys are torchvision's, in eval mode."""
    with torch.device("meta"):
        folded = ClassifierHead(head.in_channels, head.classes, head.width, head.dropout)
    fill(folded, _folded(head.classifier, "classifier"))
    return folded.eval()


def _folded(layers: nn.Sequential, name: str) -> dict[str, Tensor]:
    """Weights of `layers` as they are called once the batch norms are gone; what has none before it is shared."""
    kept: list[dict[str, Tensor]] = []
    before: nn.Module = layers
    for layer in layers:
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            kept[-1] = _fused(before, layer)
        else:
            kept.append({key: value.detach() for key, value in layer.state_dict().items()})
        before = layer
    return {f"{name}.{number}.{key}": value for number, weights in enumerate(kept) for key, value in weights.items()}


def _fused(layer: nn.Module, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> dict[str, Tensor]:
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a batch norm without running statistics can't be folded")
    statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    if isinstance(layer, nn.Conv2d):
        weight, bias = fuse_conv_bn_weights(layer.weight, layer.bias, *statistics)
    elif isinstance(layer, nn.Linear):
        weight, bias = fuse_linear_bn_weights(layer.weight, layer.bias, *statistics)
    else:
        raise TypeError(f"batch norm after {type(layer).__name__} can't be folded")
    return {"weight": weight.detach(), "bias": bias.detach()}
