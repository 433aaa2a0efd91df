"""What evaluation.json says."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from worker.evaluation.interval import Accuracy, Difference


class LinearResult(Accuracy):
    """Mean over the probes' seeds, with Wilson's interval at that share."""

    per_seed: dict[str, float]
    """Seed -> top-1."""


class TapResult(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: tuple[int, int, int]
    """(channels, height, width) after average pooling."""
    knn: Accuracy
    linear: LinearResult


class TapDifference(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    knn: Difference
    linear: Difference


class Evaluation(BaseModel):
    """`networks`: name -> tap -> results. `differences`: `student - random` -> tap -> paired intervals."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labelled: bool
    reason: str | None = None
    """One sentence, where nothing could be compared."""
    protocol: dict[str, Any] = {}
    networks: dict[str, dict[str, TapResult]] = {}
    differences: dict[str, dict[str, TapDifference]] = {}

    def summary(self) -> dict[str, Any]:
        """Top-1 only: small enough to show with the artifact."""
        if not self.labelled:
            return {"labelled": False, "reason": self.reason}
        linear = {name: {tap: r.linear.top1 for tap, r in taps.items()} for name, taps in self.networks.items()}
        knn = {name: {tap: r.knn.top1 for tap, r in taps.items()} for name, taps in self.networks.items()}
        return {"labelled": True, "held_out": self.protocol["held_out"], "linear": linear, "knn": knn}
