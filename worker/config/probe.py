"""Evaluations on a labelled image store: which protocol, and how."""

from typing import Annotated, Literal

from pydantic import Field

from worker.config.base import Auto, Config, Seeds, StageConfig

Tap = Literal["conv1", "conv2", "conv3", "conv4", "conv5"]
TAPS: tuple[Tap, ...] = ("conv1", "conv2", "conv3", "conv4", "conv5")


Resize = Literal["bilinear", "average"]
"""How a map becomes smaller: between the nearest values as the published probes do, or by the mean of each part."""


class LabelSplit(Config):
    """Which labelled images teach, and which judge: by the md5 of their path, so it never depends on other images."""

    holdout: float = Field(0.1, gt=0, lt=1, description="share held out")
    rule: Literal["md5-mod-10", "md5-share"] = Field(
        "md5-share", description="md5-mod-10: held out where md5(path) % 10 == 0, whatever `holdout` says"
    )
    max_images: int | None = Field(None, ge=10, description="take part at all, drawn by the first seed")


class Protocol(Config):
    split: LabelSplit = LabelSplit()
    side: Annotated[int, Field(ge=32)] | Auto = Field("auto", description="auto: the crop shows 224/256 of the image")
    crop: Annotated[int, Field(ge=32)] | Auto = Field("auto", description="auto: what the checkpoint was made for")
    seeds: Seeds = (0, 1, 2)
    confidence: float = Field(0.95, gt=0.5, lt=1)
    batch: int = Field(128, ge=1, description="images per forward pass")


class LinearProtocol(Protocol):
    """All probes in one pass over features computed once (SPEC 8.4, 8.5)."""

    protocol: Literal["linear"] = "linear"
    taps: tuple[str, ...] = Field(TAPS, min_length=1)
    max_dims: int = Field(9600, ge=16, description="maps are resized to the largest square of at most this many values")
    resize: Resize = "bilinear"
    epochs: int = Field(30, ge=1)


class NonlinearProtocol(Protocol):
    """Freeze up to each layer, retrain all that follows (SPEC 8.6); fc6 and fc7 for checkpoints with a classifier."""

    protocol: Literal["nonlinear"] = "nonlinear"
    columns: tuple[str, ...] = Field((*TAPS, "fc6", "fc7"), min_length=1)
    epochs: float = Field(20, gt=0)
    training_batch: int = Field(64, ge=2)
    lr: float = Field(0.02, gt=0)
    weight_decay: float = Field(5e-4, ge=0)
    width: int = Field(1024, ge=16, description="of the new fc6 and fc7; the paper has 4096")
    crops: Literal[1, 10] = Field(10, description="views averaged after the softmax at test")


class RetrievalProtocol(Protocol):
    protocol: Literal["retrieval"] = "retrieval"
    taps: tuple[str, ...] = Field(("conv5",), min_length=1)
    max_dims: int = Field(9600, ge=16)
    resize: Resize = "average"
    neighbours: int = Field(20, ge=1)
    grid: int = Field(8, ge=0, description="rows of the picture: a query and its nearest images; 0 for none")


class LowShotProtocol(Protocol):
    protocol: Literal["low_shot"] = "low_shot"
    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (0.01, 0.1), min_length=1, description="of the labels, at least one a class"
    )
    ways: tuple[Literal["linear", "finetune"], ...] = Field(("linear", "finetune"), min_length=1)
    taps: tuple[str, ...] = Field(("conv4",), min_length=1, description="for the linear way")
    max_dims: int = Field(9600, ge=16)
    resize: Resize = "bilinear"
    epochs: int = Field(30, ge=1)
    steps: int = Field(400, ge=1, description="of fine-tuning")
    lr: float = Field(0.01, gt=0)


class ClusterProtocol(Protocol):
    """Clusters of a tap: NMI, adjusted Rand, purity; entropy of sizes; agreement between seeds; empty, tiny, giant.

    Features are max-pooled as the extract stage does; all labelled images are clustered, once a seed.
    """

    protocol: Literal["clusters"] = "clusters"
    tap: str = "conv4"
    k: Annotated[int, Field(ge=2)] | Auto = Field("auto", description="auto: as for the cluster stage")
    iterations: int = Field(20, ge=1)
    l2_normalise: bool = True


AnyProbe = Annotated[
    LinearProtocol | NonlinearProtocol | RetrievalProtocol | LowShotProtocol | ClusterProtocol,
    Field(discriminator="protocol"),
]


class ProbeConfig(StageConfig):
    """Evaluate one checkpoint on a labelled image store by one protocol."""

    protocol: AnyProbe = LinearProtocol()
