"""The dataset's own labels in the pseudo-labels' place: supervised training, the tables' upper bound."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.config.reasons import Reason
from worker.config.sources import ClassLabelsConfig
from worker.data.store import ImageStore
from worker.evaluation.split import held_out_by_md5
from worker.stages.contract import Context, Inputs, Produced, Result, StageError
from worker.stages.label_set import NONE, write_label_set
from worker.stages.machine_errors import machine_errors
from worker.stages.standalone import main


class ClassLabelsInputs(Inputs):
    store: Path


class ClassLabelsResult(Result):
    labels: Produced


def run(config: ClassLabelsConfig, inputs: ClassLabelsInputs, context: Context) -> ClassLabelsResult:
    """Images without a label get none (-1) and are left out of training, and so are those that judge.

    Raises `StageError(bad_labels)` where the dataset's labels name fewer than two classes.
    """
    context.resolved(config)
    store = ImageStore.open(inputs.store)
    if len(store.classes) < 2:
        found = f"only one class, '{store.classes[0]}'" if store.classes else "no labels"
        message = f"The dataset has {found}: register it with `labels` 'folders' or 'csv' for supervised training."
        raise StageError(Reason.bad_labels, message)
    labels = _taught(config, store, context)
    with machine_errors("storing the labels"):
        folder, k = context.workdir / "labels", len(store.classes)
        produced = write_label_set(
            folder, inputs.store, labels, k, "classes", names=store.classes, holdout=config.holdout
        )
    context.progress(store.count, store.count, "images")
    return ClassLabelsResult(labels=produced)


def _taught(config: ClassLabelsConfig, store: ImageStore, context: Context) -> NDArray[np.int32]:
    labels = store.labels.astype(np.int32)
    if missing := int((labels < 0).sum()):
        context.log(f"{missing} of {store.count} images have no label and are left out of training.", "warning")
    judging = held_out_by_md5(store.paths, config.holdout) & (labels != NONE)
    if held := int(judging.sum()):
        context.log(f"{held} labelled images keep their labels for evaluations: the training doesn't learn them.")
    return np.where(judging, NONE, labels).astype(np.int32)


if __name__ == "__main__":
    main(run, ClassLabelsConfig, ClassLabelsInputs)
