"""FCN with 32 pixel stride: a backbone under convolutional fc6, fc7 and scores (Long et al.; SPEC 8.3)."""

import torch
from torch import Tensor, nn

from models.backbone import Backbone
from models.layers import init_bias, init_he
from worker.evaluation.detectors.trunk import geometry
from worker.stages.frozen import layered

FC6, FC6_PADDING = 6, 3
DROPOUT = 0.5


class Fcn(nn.Module):
    """conv1 .. pool5 of any backbone, fc6 as a 6 x 6 convolution, fc7 and scores as 1 x 1, enlarged bilinearly.

    fc6 is padded by 3 cells, so that its cells cover the image to the edge and inputs of 64 pixels have a map; the
    published network pads the image by 100 pixels to the same end (our choice: it costs less). Every cell's score
    belongs to the middle of what it sees; pixels between are interpolated, those further out have the outermost one's.
    Convolutions are the backbone's own modules; new layers start as He et al., the scores as zero (as FCN's), drawn
    from torch's global generator.
    """

    def __init__(self, backbone: Backbone, classes: int, width: int) -> None:
        super().__init__()
        self.features = layered(backbone).features
        fc6 = nn.Conv2d(backbone.out_channels, width, FC6, padding=FC6_PADDING)
        fc7 = nn.Conv2d(width, width, 1)
        score = nn.Conv2d(width, classes, 1)
        init_he([fc6, fc7])
        nn.init.zeros_(score.weight)
        init_bias(score, 0.0)
        self.head = nn.Sequential(
            fc6, nn.ReLU(inplace=True), nn.Dropout(DROPOUT), fc7, nn.ReLU(inplace=True), nn.Dropout(DROPOUT), score
        )
        self.stride, self.first = geometry(nn.Sequential(*self.features, fc6))
        self._matrices: dict[tuple[int, int, torch.device], Tensor] = {}

    def forward(self, images: Tensor) -> Tensor:
        """float32 (N, 3, h, w), normalised -> float32 (N, classes, h, w)."""
        cells = self.head(self.features(images))
        with torch.autocast(images.device.type, enabled=False):
            rows = self._matrix(images.shape[-2], cells.shape[-2], images.device)
            columns = self._matrix(images.shape[-1], cells.shape[-1], images.device)
            enlarged: Tensor = rows @ cells.float() @ columns.T
        return enlarged

    @torch.no_grad()
    def settle(self, images: Tensor) -> None:
        """Scale fc6 so that its outputs for `images` have unit variance, as Krahenbuehl et al. start new layers.

        Backbones differ a hundredfold in the size of their maps; without it every one needs a learning rate of its own.
        """
        fc6 = self.head[0]
        assert isinstance(fc6, nn.Conv2d)
        deviation = fc6(self.features(images)).std()
        fc6.weight.div_(deviation.clamp_min(1e-6))

    def _matrix(self, pixels: int, cells: int, device: torch.device) -> Tensor:
        """`interpolation_matrix`, made once for every size."""
        key = (pixels, cells, device)
        if key not in self._matrices:
            self._matrices[key] = interpolation_matrix(pixels, cells, self.stride, self.first).to(device)
        return self._matrices[key]


def interpolation_matrix(pixels: int, cells: int, stride: int, first: float) -> Tensor:
    """float32 (pixels, cells): a line of cells, the first at pixel `first` and `stride` apart -> a line of pixels.

    Linear between cells, constant beyond the outermost. As a product of matrices the enlargement gives the same bits
    every time, also backwards, which interpolation kernels don't on a GPU.
    """
    place = ((torch.arange(pixels, dtype=torch.float64) - first) / stride).clamp(0, cells - 1)
    before = place.floor().clamp_max(max(0, cells - 2)).long()
    after = (before + 1).clamp_max(cells - 1)
    share = place - before
    matrix = torch.zeros(pixels, cells, dtype=torch.float64)
    matrix.scatter_add_(1, before[:, None], 1 - share[:, None])
    matrix.scatter_add_(1, after[:, None], share[:, None])
    return matrix.float()
