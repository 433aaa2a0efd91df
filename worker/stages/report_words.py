"""The words of a run's report, in Markdown."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import CheckpointRecord
from models.model_card import ModelCard
from worker.clustering.centroids import ClusteringFacts
from worker.data.store import ImageStore
from worker.evaluation.record import Evaluation
from worker.evaluation.words import evaluation_words, table


@dataclass(frozen=True)
class LabelSet:
    values: NDArray[np.int32]
    """(count,): -1 = none."""
    distances: NDArray[np.float32]
    """(count,): NaN = unknown."""
    facts: dict[str, Any]
    """labels.json."""

    @property
    def noun(self) -> Literal["class", "cluster"]:
        """What a label stands for."""
        return "class" if self.facts["source"] == "classes" else "cluster"

    @property
    def nouns(self) -> Literal["classes", "clusters"]:
        return "classes" if self.noun == "class" else "clusters"


def report_words(
    store: ImageStore,
    labels: LabelSet,
    student: CheckpointRecord,
    teacher: CheckpointRecord | None,
    clustering: ClusteringFacts | None,
    evaluation: Evaluation | None,
    preview: str | None,
    weights: ModelCard | None,
) -> str:
    """The whole of report.md; what is None is left out."""
    told = evaluation_words(evaluation) if evaluation else ["No evaluation was made: look at the clusters."]
    lines = [
        "# Report",
        "",
        f"{store.count} images, stored as squares of {store.side} pixels; {_about_labels(store, labels)}.",
        "",
        "## What was trained",
        "",
        *_training(student, teacher, labels.noun),
        "",
        *_preview(preview),
        f"## {labels.nouns.capitalize()}",
        "",
        *_clusters(labels, clustering),
        "",
        "## How good are the features?",
        "",
        *told,
        "",
        "## First-layer filters",
        "",
        "![Filters of conv1](conv1.png)",
        "",
        "Each filter is stretched to its own range. Smooth edges and blobs of colour are learned; noise is not.",
        *(_loading(weights) if weights else []),
    ]
    return "\n".join(lines) + "\n"


def _about_labels(store: ImageStore, labels: LabelSet) -> str:
    if not store.classes:
        return "no labels"
    use = "which the student was taught" if labels.noun == "class" else "used for evaluation only"
    return f"{len(store.classes)} classes of labels, {use}"


def _training(student: CheckpointRecord, teacher: CheckpointRecord | None, noun: str) -> list[str]:
    header = ["network", "architecture", "crop", "outputs", "epochs", "images seen", "seconds", "loss (chance)"]
    rows = [_training_row("teacher", teacher)] if teacher else []
    rows.append(_training_row("student", student))
    sentences = [*(_about_teacher(teacher) if teacher else []), *_about_student(student, noun)]
    return [*table([*header, "training accuracy (chance)"], rows), "", *sentences]


def _preview(name: str | None) -> list[str]:
    if name is None:
        return []
    words = "Examples of the teacher's task, made of images of the dataset before its training began."
    return ["## What the teacher saw", "", f"![Examples of the task]({name})", "", words, ""]


def _training_row(name: str, record: CheckpointRecord) -> list[str]:
    facts = record.training
    return [
        name,
        record.backbone.told,
        f"{record.crop} px",
        str(record.classes or "–"),
        _number(facts, "epochs", "{:.1f}"),
        _number(facts, "images_seen", "{:,}"),
        _number(facts, "seconds", "{:,.0f}"),
        _against(facts, "loss", "{:.3f}"),
        _against(facts, "accuracy", "{:.1%}"),
    ]


def _number(facts: dict[str, Any], key: str, form: str) -> str:
    value = facts.get(key)
    return form.format(value) if isinstance(value, int | float) else "–"


def _against(facts: dict[str, Any], key: str, form: str) -> str:
    found, chance = _number(facts, key, form), _number(facts, f"chance_{key}", form)
    return found if chance == "–" else f"{found} ({chance})"


def _about_teacher(teacher: CheckpointRecord) -> list[str]:
    if teacher.training.get("imported"):
        return ["The teacher's weights were imported, not trained here."]
    if teacher.training.get("untrained"):
        return ["The teacher is an untrained network: the clusters show what random weights see."]
    if "accuracy" not in teacher.training or "permutations" not in teacher.training:
        return []
    return [
        f"The teacher solved {teacher.training['accuracy']:.1%} of its puzzles at the end of its training, telling "
        f"{teacher.classes} permutations apart; guessing would solve {1 / teacher.classes:.2%}."
    ]


def _about_student(student: CheckpointRecord, noun: str) -> list[str]:
    if "holdout_accuracy" not in student.training or not student.classes:
        return []
    return [
        f"The student tells the {noun} of {student.training['holdout_accuracy']:.1%} of "
        f"{student.training['images_held_out']} images that it never trained on; guessing would tell "
        f"{1 / student.classes:.2%}."
    ]


def _clusters(labels: LabelSet, clustering: ClusteringFacts | None) -> list[str]:
    facts, many = labels.facts, labels.nouns
    sizes = np.bincount(labels.values[labels.values >= 0], minlength=facts["k"])
    rows = [
        [many, str(facts["k"])],
        ["images with a label", f"{int(sizes.sum())} of {len(labels.values)}"],
        ["smallest, median, largest", f"{sizes.min()}, {np.median(sizes):g}, {sizes.max()}"],
        ["entropy (1 = all equally large)", f"{facts['entropy_normalised']:.3f} ({facts['entropy']:.2f} nats)"],
        [f"tiny {many} (below a tenth of the mean size)", f"{facts['tiny_share']:.1%}"],
        [f"images in giant {many} (above ten times the mean)", f"{facts['giant_share']:.1%}"],
        *(_clustering_rows(clustering) if clustering else []),
    ]
    order = "nearest to its centre" if np.isfinite(labels.distances).any() else "that come first in the dataset"
    words = f"A row is a {labels.noun}: the largest first, and in it the images {order}."
    return [*table([many, "value"], rows), "", "![Clusters](clusters.png)", "", words]


def _clustering_rows(clustering: ClusteringFacts) -> list[list[str]]:
    return [
        ["features", f"{clustering.tap}, {' x '.join(map(str, clustering.shape))}"],
        ["k-means iterations", f"{clustering.iterations} ({clustering.seconds_per_iteration:.2g} s each)"],
        ["inertia, first to last", f"{clustering.inertia_per_iteration[0]:.4g} to {clustering.inertia:.4g}"],
        ["empty clusters refilled", str(clustering.empty_reseeded)],
    ]


def _loading(card: ModelCard) -> list[str]:
    """Of the files that were made, the student's."""
    size = card.input.size
    lines = [
        "",
        "## How to load the student",
        "",
        f"Input: (N, 3, {size}, {size}) float32, {card.input.normalise}. "
        "Batch norm, if any, is folded into the layers of the exported files.",
    ]
    for form, file in card.files.items():
        if form != "teacher":
            lines += ["", f"`{file.name}`:", "", "```python", *file.load, "```"]
    return lines
