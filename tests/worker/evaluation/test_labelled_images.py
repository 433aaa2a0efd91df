from pathlib import Path

import numpy as np
import torch

from tests.worker.evaluation.plain_colours import CROP, coloured_split, coloured_store, judged, write_student
from worker.evaluation.finetuning import training_rows
from worker.evaluation.labelled_images import LabelledImages
from worker.stages.standalone import LocalContext


def test_a_batch_s_random_crops_are_windows_of_its_images_or_their_mirrors(tmp_path: Path) -> None:
    store = coloured_store(tmp_path / "store")
    split = coloured_split(store)
    rows = np.flatnonzero(~split.held_out)
    subject = judged(store, write_student(tmp_path / "student"), LocalContext(tmp_path / "work"))
    images = LabelledImages(subject, split, rows)
    order = list(training_rows(len(images), 8, 3, seed=5))
    mirrored = 0
    for (crops, labels), chosen in zip(images.shown(8, 3, seed=5), order, strict=True):
        assert labels.tolist() == split.labels[rows[chosen]].tolist()
        for crop, row in zip(crops, chosen, strict=True):
            whole = torch.from_numpy(store.images[split.images[rows[row]]].copy()).permute(2, 0, 1)
            windows = whole.unfold(1, CROP, 1).unfold(2, CROP, 1).flatten(1, 2).transpose(0, 1)
            plain, flipped = ((windows == view).flatten(1).all(1).any() for view in (crop, crop.flip(-1)))
            assert plain or flipped
            mirrored += int(flipped)
    assert 0 < mirrored < 24
