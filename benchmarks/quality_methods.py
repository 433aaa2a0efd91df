"""The methods by name, each as the steps that make its checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality_pretexts import pretext_of, schedule_of
from benchmarks.quality_recipe import Recipe
from benchmarks.quality_steps import Step, Steps
from worker.config.classify import ClassifyConfig
from worker.config.cluster import ClusterConfig
from worker.config.extract import ExtractConfig
from worker.config.label import LabelConfig
from worker.config.pipeline import FURTHER_LABELS
from worker.config.pretrain import PretrainConfig
from worker.config.regress import RegressConfig
from worker.config.schedule import TrainingSchedule
from worker.config.sources import ClassLabelsConfig, HogConfig, InitialiseConfig
from worker.stages import class_labels, classify, cluster, extract, hog, initialise, label, pretrain, regress

DEFAULT_METHODS = (
    "random",
    "random-calibrated",
    "supervised",
    "jigsaw",
    "jigsaw++",
    "cc+random",
    "cc+jigsaw++",
    "cc+vgg-jigsaw++",
)
VOC_METHODS = ("random", "supervised", "jigsaw++", "cc+jigsaw++", "cc+vgg-jigsaw++")
STUDENT_SHARE, TEACHER_SHARE, BIG_SHARE = 0.11, 0.09, 0.31
"""Of the budget, for a training of the small network on labels, on a pretext task, and of the big one: the default
methods together take 0.93 of it, probes the rest."""


class Methods:
    def __init__(self, steps: Steps, recipe: Recipe, store: Path, minutes: float) -> None:
        self._steps = steps
        self._recipe = recipe
        self._store = store
        self._minutes = minutes
        self.told: dict[str, str] = {}
        """Method -> what was trained for it, in words."""

    def checkpoint(self, name: str) -> Path:
        """Raises ValueError for a name that is no method."""
        if name in ("random", "random-calibrated"):
            return self._untrained(calibrate=name != "random")["teacher"]
        if name == "supervised":
            return self._supervised()["student"]
        if name.startswith("cc+"):
            return self._student(name, self._features(name.removeprefix("cc+")), (1.0,))["student"]
        if name.startswith("ensemble+"):
            return self._student(name, self._features(name.removeprefix("ensemble+")), (1.0, 0.5, 2.0))["student"]
        if name.startswith("regression+"):
            return self._regressed(name, self.checkpoint(name.removeprefix("regression+")))["student"]
        return self._taught(name)["teacher"]

    def _untrained(self, *, calibrate: bool) -> Step:
        recipe = self._recipe
        config = InitialiseConfig(backbone=recipe.student, crop=recipe.crop, calibrate=calibrate, seed=recipe.seed)
        inputs = {"store": self._store}
        return self._steps.take("initialise", initialise.run, config, initialise.InitialiseInputs, inputs)

    def _supervised(self) -> Step:
        """The one student whose time is measured: all others are trained for as many epochs."""
        labels = self._steps.take(
            "class_labels",
            class_labels.run,
            # The store holds no image that judges.
            ClassLabelsConfig(holdout=0),
            class_labels.ClassLabelsInputs,
            {"store": self._store},
        )
        minutes = self._minutes * STUDENT_SHARE
        return self._classified("supervised", [labels["labels"]], _for_minutes(self._recipe.student_schedule, minutes))

    def _student(self, name: str, features: Path, shares: tuple[float, ...]) -> Step:
        """Learns one clustering for each share of the recipe's k, all at once."""
        labels = [self._clustered(name, features, round(self._recipe.k * share)) for share in shares]
        return self._classified(name, labels, self._students_schedule())

    def _students_schedule(self) -> TrainingSchedule:
        epochs = self._supervised().facts["config"]["schedule"]["epochs"]
        return self._recipe.student_schedule.model_copy(update={"epochs": epochs})

    def _classified(self, name: str, labels: Sequence[Path], schedule: TrainingSchedule) -> Step:
        recipe = self._recipe
        config = ClassifyConfig(
            backbone=recipe.student,
            head=recipe.student_head,
            schedule=schedule,
            side=recipe.view_side,
            crop=recipe.crop,
            min_scale=recipe.min_scale,
            grey=recipe.grey,
            label_smoothing=recipe.label_smoothing,
            seed=recipe.seed,
        )
        roles = ("labels", *FURTHER_LABELS)
        inputs = {"store": self._store, **dict(zip(roles, labels, strict=False))}
        step = self._steps.take(f"classify.{name}", classify.run, config, classify.ClassifyInputs, inputs)
        summary = step.facts["summary"]["student"]
        held = f", {summary['holdout_accuracy']:.1%} of held-out labels told" if "holdout_accuracy" in summary else ""
        self.told[name] = f"{summary['epochs']:.0f} epochs on {summary['clusters']} labels{held}"
        return step

    def _regressed(self, name: str, teacher: Path) -> Step:
        recipe = self._recipe
        config = RegressConfig(
            backbone=recipe.student,
            schedule=self._students_schedule(),
            side=recipe.view_side,
            crop=recipe.crop,
            min_scale=recipe.min_scale,
            seed=recipe.seed,
        )
        inputs = {"store": self._store, "teacher": teacher}
        step = self._steps.take(f"regress.{name}", regress.run, config, regress.RegressInputs, inputs)
        summary = step.facts["summary"]["student"]
        self.told[name] = (
            f"{summary['epochs']:.0f} epochs, loss {summary['loss']:.3f} (chance {summary['chance_loss']:.3f})"
        )
        return step

    def _features(self, source: str) -> Path:
        """Of hand-made descriptors, or of the checkpoint of that name."""
        recipe, store = self._recipe, self._store
        if source == "hog":
            config = HogConfig(side=recipe.side, crop=recipe.puzzle_crop, seed=recipe.seed)
            return self._steps.take("hog", hog.run, config, hog.HogInputs, {"store": store})["features"]
        of_student = source.startswith(("cc+", "random", "ensemble+", "regression+"))
        seen = (recipe.view_side, recipe.crop) if of_student else (recipe.puzzle_side, recipe.puzzle_crop)
        inputs = {"store": store, "teacher": self.checkpoint(source)}
        step = self._steps.take(
            f"extract.{source}", extract.run, ExtractConfig(side=seen[0], crop=seen[1]), extract.ExtractInputs, inputs
        )
        return step["features"]

    def _clustered(self, name: str, features: Path, k: int) -> Path:
        recipe, store = self._recipe, self._store
        config = ClusterConfig(k=k, l2_normalise=recipe.l2_normalise, whiten=recipe.whiten, seed=recipe.seed)
        inputs = {"features": features}
        centres = self._steps.take(f"cluster.{name}", cluster.run, config, cluster.ClusterInputs, inputs)["centroids"]
        inputs = {"store": store, "features": features, "centroids": centres}
        return self._steps.take(f"label.{name}", label.run, LabelConfig(), label.LabelInputs, inputs)["labels"]

    def _taught(self, name: str) -> Step:
        recipe = self._recipe
        big, task = name.startswith("vgg-"), name.removeprefix("vgg-")
        pretext = pretext_of(task, recipe)
        minutes = self._minutes * (BIG_SHARE if big else TEACHER_SHARE)
        config = PretrainConfig(
            backbone=recipe.big if big else recipe.student,
            pretext=pretext,
            schedule=_for_minutes(schedule_of(task, recipe.teacher_schedule), minutes),
            holdout=0.05,
            seed=recipe.seed,
        )
        inputs = {"store": self._store}
        step = self._steps.take(f"pretrain.{name}", pretrain.run, config, pretrain.PretrainInputs, inputs)
        self.told[name] = _told(step.facts["summary"]["teacher"])
        return step


def _told(summary: dict[str, Any]) -> str:
    """Of a pretext training: how long, and how well unseen images are told."""
    words = f"{summary['epochs']:.0f} epochs of {summary['task']}, held-out loss {summary['holdout_loss']:.3f}"
    if summary["chance_loss"] is not None:
        words += f" (chance {summary['chance_loss']:.3f})"
    if summary["chance_accuracy"] is not None:
        words += f", {summary['holdout_accuracy']:.1%} right (chance {summary['chance_accuracy']:.1%})"
    return words


def _for_minutes(schedule: TrainingSchedule, minutes: float) -> TrainingSchedule:
    return schedule.model_copy(update={"epochs": "auto", "minutes": minutes})
