"""The report of a run: what was trained, how the clusters look, what the numbers show, how to load the weights."""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import ValidationError

from models.model_card import ModelCard
from worker.clustering.centroids import Centroids
from worker.config.evaluate import ReportConfig
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.data.store import ImageStore
from worker.evaluation.record import Evaluation
from worker.pictures.contact_sheet import ClusterRow, contact_sheet, largest_clusters
from worker.pictures.filters import filter_picture, first_filters
from worker.pictures.preview import PREVIEW_FILE
from worker.stages.contract import Context, Inputs, Produced, Result, StageError
from worker.stages.frozen import opened_checkpoint
from worker.stages.machine_errors import machine_errors
from worker.stages.report_words import LabelSet, report_words
from worker.stages.standalone import main


class ReportInputs(Inputs):
    store: Path
    labels: Path
    student: Path
    teacher: Path | None = None
    centroids: Path | None = None
    evaluation: Path | None = None
    weights: Path | None = None


class ReportResult(Result):
    report: Produced


def run(config: ReportConfig, inputs: ReportInputs, context: Context) -> ReportResult:
    """Writes `report.md`, `clusters.png`, `conv1.png`, and the teacher's `preview.png` if it has one.

    What was not given is left out of the words.
    """
    context.resolved(config)
    store = ImageStore.open(inputs.store)
    labels = _read_labels(inputs.labels, store)
    student = opened_checkpoint(inputs.student)
    teacher = opened_checkpoint(inputs.teacher) if inputs.teacher else None
    clustering = Centroids.open(inputs.centroids).facts if inputs.centroids else None
    evaluation = _read_evaluation(inputs.evaluation) if inputs.evaluation else None
    card = _read_card(inputs.weights) if inputs.weights else None
    folder = context.workdir / "report"
    rows = largest_clusters(labels.values, labels.distances, config.clusters, config.images_per_cluster)
    with machine_errors("writing the report"):
        folder.mkdir(parents=True, exist_ok=True)
        _sheet(config, store, rows, labels).save(folder / "clusters.png", optimize=True)
        panels = {"student": student, **({"teacher": teacher} if teacher else {})}
        filters = {name: first_filters(backbone) for name, (_, backbone) in panels.items()}
        seen = {name: found for name, found in filters.items() if found is not None}
        filter_picture(seen).save(folder / "conv1.png", optimize=True)
        record = teacher[0] if teacher else None
        preview = _copied_preview(inputs.teacher, folder)
        text = report_words(store, labels, student[0], record, clustering, evaluation, preview, card)
        (folder / "report.md").write_text(text, encoding="utf-8")
    context.progress(1, 1, "reports")
    summary = {"clusters_shown": len(rows), "evaluated": bool(evaluation and evaluation.labelled)}
    return ReportResult(report=Produced(kind=ArtifactKind.report, path=folder, summary=summary))


def _read_labels(folder: Path, store: ImageStore) -> LabelSet:
    try:
        values, distances = np.load(folder / "labels.npy"), np.load(folder / "distances.npy")
        facts = json.loads((folder / "labels.json").read_text())
    except (OSError, ValueError) as error:
        raise StageError(Reason.artifact_corrupt, f"The pseudo-labels can't be read: {error}.") from error
    if len(values) != store.count or len(distances) != store.count:
        raise StageError(Reason.bad_config, f"There are {len(values)} pseudo-labels for {store.count} images.")
    return LabelSet(values, distances, facts)


def _read_evaluation(folder: Path) -> Evaluation:
    try:
        return Evaluation.model_validate_json((folder / "evaluation.json").read_text())
    except (OSError, ValidationError) as error:
        raise StageError(Reason.artifact_corrupt, f"The evaluation can't be read: {error}.") from error


def _read_card(weights: Path) -> ModelCard:
    try:
        return ModelCard.model_validate_json((weights / "model_card.json").read_text())
    except (OSError, ValidationError) as error:
        raise StageError(Reason.artifact_corrupt, f"The weights' model card can't be read: {error}.") from error


def _copied_preview(teacher: Path | None, folder: Path) -> str | None:
    """The file's name, where the teacher has a preview: imported weights have none."""
    if teacher is None or not (teacher / PREVIEW_FILE).is_file():
        return None
    shutil.copyfile(teacher / PREVIEW_FILE, folder / PREVIEW_FILE)
    return PREVIEW_FILE


def _sheet(config: ReportConfig, store: ImageStore, rows: list[ClusterRow], labels: LabelSet) -> Image.Image:
    used = len(np.unique(labels.values[labels.values >= 0]))
    chosen = "all clusters" if len(rows) == used else f"the {len(rows)} largest of {used} clusters"
    order = "nearest to the centre first" if np.isfinite(labels.distances).any() else "in the dataset's order"
    return contact_sheet(store, rows, f"{chosen}, largest first; images from left to right, {order}", config.thumbnail)


if __name__ == "__main__":
    main(run, ReportConfig, ReportInputs)
