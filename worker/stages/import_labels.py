"""Pseudo-labels from the user's own file, so that any clustering can be distilled."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.config.label import ImportLabelsConfig
from worker.config.reasons import Reason
from worker.data.disk_full import disk_full_named
from worker.data.label_file import LabelRow, read_label_file, refused
from worker.data.store import ImageStore
from worker.stages.contract import Context, Inputs, Produced, Result, StageError
from worker.stages.label_set import NONE, write_label_set
from worker.stages.standalone import main

NAMED = 3
"""Paths that an error names, as examples."""


class ImportLabelsInputs(Inputs):
    store: Path
    upload: Path
    """A directory that holds one CSV or Parquet file with the columns `path` and `label`."""


class ImportLabelsResult(Result):
    labels: Produced


def run(config: ImportLabelsConfig, inputs: ImportLabelsInputs, context: Context) -> ImportLabelsResult:
    """Number the distinct labels 0..k-1, in order (integers by their value), and lay them beside the store's images.

    The integer label -1 means none, as in the pseudo-labels that the service gives out. Raises
    `StageError(bad_labels)` where the file is no table of labels, names an unknown image or one twice, holds fewer
    than two labels, or misses images while `allow_missing` is off.
    """
    context.resolved(config)
    store = ImageStore.open(inputs.store)
    file = _only_file(inputs.upload)
    rows = read_label_file(file)
    _refuse_unknown(file, rows, store)
    numbers, names = _numbers([row.label for row in rows])
    if len(names) < 2:
        raise StageError(Reason.bad_labels, f"{file.name} holds {len(names)} different labels, and 2 are the least.")
    labels = _in_store_order(rows, numbers, store)
    if not config.allow_missing:
        _refuse_missing(file, labels, store)
    context.progress(store.count, store.count, "images")
    with disk_full_named("storing the labels"):
        folder, k = context.workdir / "labels", len(names)
        return ImportLabelsResult(labels=write_label_set(folder, inputs.store, labels, k, "import", names=names))


def _only_file(upload: Path) -> Path:
    files = [path for path in upload.iterdir() if path.is_file()]
    if len(files) != 1:
        raise StageError(Reason.bad_labels, f"The upload holds {len(files)} files; it needs to be one table of labels.")
    return files[0]


def _refuse_unknown(file: Path, rows: list[LabelRow], store: ImageStore) -> None:
    known = frozenset(store.paths)
    unknown = [row for row in rows if row.path not in known]
    if unknown:
        names = _examples([row.path for row in unknown])
        raise refused(file, unknown[0].line, f"{len(unknown)} paths are not among the dataset's images: {names}")


def _refuse_missing(file: Path, labels: NDArray[np.int32], store: ImageStore) -> None:
    missing = np.flatnonzero(labels == NONE)
    if len(missing):
        names = _examples([store.paths[index] for index in missing[:NAMED]], len(missing))
        raise StageError(
            Reason.bad_labels,
            f"{file.name} has no label for {len(missing)} of {store.count} images ({names}); "
            "`allow_missing` would leave them out of training.",
        )


def _examples(paths: Sequence[str], count: int | None = None) -> str:
    more = (len(paths) if count is None else count) - NAMED
    return ", ".join(f"'{path}'" for path in paths[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _numbers(labels: list[str]) -> tuple[list[int], list[str]]:
    """Each label's number 0..k-1 (-1 = none), and the names of the k labels in order."""
    integers = _integers(labels)
    if integers is None:
        names = sorted(set(labels))
        number = {name: index for index, name in enumerate(names)}
        return [number[label] for label in labels], names
    values = sorted(set(integers) - {NONE})
    place = {value: index for index, value in enumerate(values)} | {NONE: NONE}
    return [place[value] for value in integers], [str(value) for value in values]


def _integers(labels: list[str]) -> list[int] | None:
    """The labels' values where every one is an integer: a label `07` is then the label `7`."""
    if not all(re.fullmatch("[+-]?[0-9]{1,18}", label) for label in labels):
        return None
    return [int(label) for label in labels]


def _in_store_order(rows: list[LabelRow], numbers: list[int], store: ImageStore) -> NDArray[np.int32]:
    number = {row.path: value for row, value in zip(rows, numbers, strict=True)}
    return np.array([number.get(path, NONE) for path in store.paths], dtype=np.int32)


if __name__ == "__main__":
    main(run, ImportLabelsConfig, ImportLabelsInputs)
