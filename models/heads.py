"""What sits on a backbone while it learns: the puzzle head and the cluster classifier."""

from typing import Literal

from torch import Tensor, nn

from models.layers import Init, init_bias, init_he

HeadNorm = Literal["none", "batch"]
TILES = 9


class PuzzleHead(nn.Module):
    """Which permutation were the nine tiles shown in? fc6 per tile, shared; fc7 over all nine (SPEC 3.4).

    With `tiles=2` it tells how two patches lie to each other (SPEC section 10, Context).

    With `init="he"` the last layer starts at standard deviation 0.001 (0.01 with batch norm): the loss starts at
    ln(classes) and doesn't collapse there (SPEC 3.5). `init="gaussian"` is the release's, for `lrn` backbones.
    """

    def __init__(
        self,
        in_features: int,
        fc6: int,
        fc7: int,
        classes: int,
        dropout: float = 0.5,
        norm: HeadNorm = "none",
        init: Init = "he",
        tiles: int = TILES,
    ) -> None:
        super().__init__()
        self.tiles = tiles
        self.fc6 = nn.Sequential(*_hidden(in_features, fc6, norm), nn.Dropout(dropout))
        self.fc7 = nn.Sequential(*_hidden(tiles * fc6, fc7, norm), nn.Dropout(dropout))
        self.fc8 = nn.Linear(fc7, classes)
        linears = [self.fc6[0], self.fc7[0], self.fc8]
        _init(linears, init, last_std=0.01 if norm == "batch" else 0.001)

    def embed(self, maps: Tensor) -> Tensor:
        """(M, C, h, w) maps of single tiles -> (M, fc6)."""
        embeddings: Tensor = self.fc6(maps.flatten(1))
        return embeddings

    def solve(self, embeddings: Tensor) -> Tensor:
        """(N, tiles, fc6) embeddings in slot order -> (N, classes) logits."""
        logits: Tensor = self.fc8(self.fc7(embeddings.flatten(1)))
        return logits

    def forward(self, maps: Tensor) -> Tensor:
        """(N * tiles, C, h, w), the slots of a puzzle one after the other -> (N, classes) logits."""
        embeddings = self.embed(maps)
        return self.solve(embeddings.reshape(-1, self.tiles, embeddings.shape[1]))


class ClassifierHead(nn.Module):
    """AlexNet's fully connected layers as torchvision orders them; the keys are torchvision's (`classifier.1.weight`).

    With batch norm the numbers shift until it is folded (`models/fold.py`).
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        width: int = 4096,
        dropout: float = 0.5,
        norm: HeadNorm = "none",
        init: Init = "he",
    ) -> None:
        super().__init__()
        self.in_channels, self.classes, self.width, self.dropout = in_channels, classes, width, dropout
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            *_hidden(in_channels * 36, width, norm),
            nn.Dropout(dropout),
            *_hidden(width, width, norm),
            nn.Linear(width, classes),
        )
        _init([layer for layer in self.classifier if isinstance(layer, nn.Linear)], init, last_std=0.01)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, in_channels, h, w) maps after pool5 -> (N, classes) logits."""
        logits: Tensor = self.classifier(self.avgpool(maps).flatten(1))
        return logits


def _hidden(inputs: int, outputs: int, norm: HeadNorm) -> list[nn.Module]:
    normalise: list[nn.Module] = [nn.BatchNorm1d(outputs)] if norm == "batch" else []
    return [nn.Linear(inputs, outputs), *normalise, nn.ReLU(inplace=True)]


def _init(linears: list[nn.Module], init: Init, last_std: float) -> None:
    """Hidden layers, then the layer of the logits. Gaussian: fc6 and fc7 N(0, .005) with bias 1, fc8 N(0, .01)."""
    *hidden, last = (layer for layer in linears if isinstance(layer, nn.Linear))
    init_he(list(hidden))
    if init == "gaussian":
        for layer in hidden:
            nn.init.normal_(layer.weight, std=0.005)
            init_bias(layer, 1.0)
    nn.init.normal_(last.weight, std=0.01 if init == "gaussian" else last_std)
    init_bias(last, 0.0)
