"""Evaluations by fine-tuning on annotated photographs (PASCAL VOC's layout): which protocol, and how."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from worker.config.base import Auto, Config, Seeds, StageConfig


class TransferProtocol(Config):
    train_set: str = Field("trainval", description="image sets by name, `year/name` for one year only, joined by +")
    test_set: str = "test"
    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None, description="None: all that the training set has"
    )
    seeds: Seeds = (0,)
    confidence: float = Field(0.95, gt=0.5, lt=1)
    iterations: int = Field(ge=1)
    batch: int = Field(ge=1)
    lr: float = Field(gt=0)

    @model_validator(mode="after")
    def _judged_by_other_images(self) -> Self:
        both = set(self.train_set.split("+")) & set(self.test_set.split("+"))
        if both:
            raise ValueError(f"`train_set` and `test_set` both name {', '.join(sorted(both))}: what taught can't judge")
        return self


class VocClassificationProtocol(TransferProtocol):
    """20-way multi-label fine-tuning (SPEC 8.1)."""

    protocol: Literal["voc_classification"] = "voc_classification"
    mode: Literal["all", "fc678", "fc8"] = "all"
    crop: int = Field(227, ge=32)
    min_scale: float = Field(0.5, gt=0)
    max_scale: float = Field(2.0, gt=0)
    crops: Literal[1, 10] = Field(10, description="views at test")
    iterations: int = Field(80_000, ge=1)
    batch: int = Field(16, ge=1)
    lr: float = Field(0.001, gt=0)
    lr_halves: int = Field(8, ge=1, description="the rate halves this many times, evenly spread")
    weight_decay: float = Field(1e-6, ge=0)
    width: int = Field(4096, ge=16, description="of new fc6 and fc7")
    batch_norm: Literal["train", "fixed"] = Field(
        "train", description="of convolutions that learn; fixed: the checkpoint's statistics, as if folded"
    )
    ap: Literal["voc07", "all-point"] = Field("voc07", description="of `cells`; the other is in `further`")

    @model_validator(mode="after")
    def _scales_in_order(self) -> Self:
        if self.min_scale > self.max_scale:
            raise ValueError(f"`min_scale` {self.min_scale:g} is above `max_scale` {self.max_scale:g}")
        return self


class VocDetectionProtocol(TransferProtocol):
    """Fast R-CNN on proposals (SPEC 8.2), or torchvision's Faster R-CNN as the modern setting."""

    protocol: Literal["voc_detection"] = "voc_detection"
    detector: Literal["fast_rcnn", "faster_rcnn"] = "fast_rcnn"
    scales: tuple[Annotated[int, Field(ge=32)], ...] = Field(
        (480, 576, 688, 864, 1200), min_length=1, description="short sides in training"
    )
    test_scale: int = Field(600, ge=32, description="of the single-scale column")
    max_side: int = Field(2000, ge=32)
    merge: Literal["nearest", "mean"] = Field(
        "nearest",
        description="multi-scale test. nearest: a box is judged at the scale where its area is nearest to 224 x 224 "
        "pixels, as the published code does; mean: at all scales, scores and boxes averaged",
    )
    proposals_source: Literal["auto", "selective_search", "edge", "grid", "given"] = Field(
        "auto",
        description="auto: selective search where OpenCV is installed (the extra `detection`), else grid; edge: "
        "EdgeBoxes on image gradients, by OpenCV; grid: windows of fixed sizes; given: those of `proposals.npz`, which "
        "was registered with the photographs",
    )
    proposals_side: int = Field(500, ge=32, description="images are shrunk to this long side for the search")
    proposals: int = Field(2000, ge=1, description="at most this many an image")
    rois: int = Field(64, ge=4, description="per image in training, a quarter of them foreground")
    pooling: Literal["pool", "align"] = Field("pool", description="of a box, to 6 x 6: RoI max pooling, or RoIAlign")
    frozen: int = Field(
        1, ge=0, le=5, description="conv1 .. conv<n> stay as they are; the published code freezes conv1"
    )
    iterations: int = Field(150_000, ge=1)
    batch: int = Field(2, ge=1)
    lr: float = Field(0.001, gt=0, description="falls to a tenth after each third of the training")
    weight_decay: float = Field(5e-4, ge=0)
    width: int = Field(4096, ge=16, description="of new fc6 and fc7")
    precision: Literal["fp32", "bf16"] | Auto = Field(
        "auto", description="auto: bf16 where the device computes it fast"
    )
    nms: float = Field(0.3, gt=0, lt=1, description="boxes that overlap a surer one of their class by more are dropped")
    detections: int = Field(100, ge=1, description="kept at most, per image")
    ap: Literal["voc07", "all-point"] = Field("voc07", description="of `cells`; the other is in `further`")


class VocSegmentationProtocol(TransferProtocol):
    """FCN-AlexNet, 32 pixel stride (SPEC 8.3)."""

    protocol: Literal["voc_segmentation"] = "voc_segmentation"
    train_set: str = "train"
    test_set: str = "val"
    crop: int | None = Field(None, ge=64, description="train on random crops of this side; None: whole images")
    mirror: bool = Field(False, description="half of the training images left to right")
    iterations: int = Field(150_000, ge=1)
    batch: int = Field(20, ge=1)
    lr: float = Field(1e-4, gt=0)
    lr_drops: int = Field(2, ge=0, description="the rate is divided by ten this many times, evenly spread")
    weight_decay: float = Field(5e-4, ge=0)
    width: int = Field(4096, ge=16, description="of new fc6 and fc7")
    batch_norm: Literal["train", "fixed"] = Field(
        "fixed", description="of the convolutions; fixed: the checkpoint's statistics, as if folded"
    )


AnyTransfer = Annotated[
    VocClassificationProtocol | VocDetectionProtocol | VocSegmentationProtocol, Field(discriminator="protocol")
]


class TransferConfig(StageConfig):
    """Evaluate one checkpoint by fine-tuning it on annotated photographs by one protocol."""

    protocol: AnyTransfer = VocClassificationProtocol()
