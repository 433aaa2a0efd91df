"""Layers that are retrained on a CUDA device: they learn, and what is frozen stays."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worker.evaluation.plain_colours import COLOURS, coloured_split, coloured_store, judged, write_student
from worker.config.probe import NonlinearProtocol
from worker.config.transfer import VocClassificationProtocol
from worker.data.annotated import AnnotatedStore, Annotation, write_annotated_store
from worker.evaluation.nonlinear import run_nonlinear
from worker.evaluation.voc_classification import run_voc_classification
from worker.stages.precision import Precision
from worker.stages.standalone import LocalContext

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda", 0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_new_layers_learn_above_frozen_ones(tmp_path: Path, precision: Precision) -> None:
    store = coloured_store(tmp_path / "store")
    protocol = NonlinearProtocol(columns=("conv1", "fc7"), seeds=(0,), epochs=50, training_batch=16, width=64)
    student, context = write_student(tmp_path / "student"), LocalContext(tmp_path / "work", "cuda")
    found = run_nonlinear(protocol, judged(store, student, context, precision=precision), coloured_split(store))
    for outcome in found.values():
        assert outcome.right.mean() > 0.9
        assert outcome.trunk_unchanged


def test_a_multi_label_classifier_learns(tmp_path: Path) -> None:
    names = [list(COLOURS)[number % 3] for number in range(48)]
    images = {f"{number:02}": np.full((50, 40, 3), COLOURS[name], np.uint8) for number, name in enumerate(names)}
    objects = {id: [Annotation(name, (0.0, 0.0, 4.0, 4.0))] for id, name in zip(images, names, strict=True)}
    sets = {"train": list(images)[:24], "test": list(images)[24:]}
    write_annotated_store(tmp_path / "store", images, sets, objects)
    protocol = VocClassificationProtocol(crop=40, iterations=100, batch=8, lr=0.02, width=512, train_set="train")
    student, context = write_student(tmp_path / "student"), LocalContext(tmp_path / "work", "cuda")
    result = run_voc_classification(protocol, student, AnnotatedStore.open(tmp_path / "store"), CUDA, context)
    assert result.cells["class"].value > 0.9
