"""A whole network: the distilled AlexNet as people use it."""

from collections.abc import Collection

from torch import Tensor, nn

from models.backbone import Backbone
from models.heads import ClassifierHead


class Classifier(nn.Module):
    """A backbone under its classifier head."""

    def __init__(self, backbone: Backbone, head: ClassifierHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, h, w) float32 pixels, normalised -> (N, classes) logits over the clusters."""
        logits: Tensor = self.head(self.backbone(image))
        return logits

    def taps(self, image: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """(N, 3, h, w) -> the asked maps `conv1` .. `conv5`, after ReLU and before pooling."""
        return self.backbone.taps(image, names)

    def weights(self) -> dict[str, Tensor]:
        """All weights under torchvision's names: `features.N.weight`, `classifier.N.weight`."""
        return {**self.backbone.state_dict(), **self.head.state_dict()}
