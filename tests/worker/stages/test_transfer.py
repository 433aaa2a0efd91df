import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tests.worker.evaluation.coloured import coloured_store, untrained_checkpoint
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.config.scores import ProtocolName, ScoreSheet
from worker.config.transfer import TransferConfig
from worker.data.annotated import AnnotatedStore
from worker.stages.contract import StageError, Stopped
from worker.stages.resumable import STATE_FILE
from worker.stages.standalone import LocalContext
from worker.stages.transfer import TransferInputs, run

SHORT = {"iterations": 2, "batch": 4, "lr": 0.001, "width": 16}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> TransferInputs:
    folder = tmp_path_factory.mktemp("coloured")
    store = coloured_store(folder / "store", train=6, test=4, side=64)
    return TransferInputs(annotations=store, checkpoint=untrained_checkpoint(folder / "checkpoint"))


PROTOCOLS = [
    ({"protocol": "voc_segmentation", **SHORT}, "mIoU", "segm"),
    ({"protocol": "voc_classification", "crop": 67, "crops": 1, **SHORT}, "mAP", "class"),
]


@pytest.mark.parametrize(("protocol", "metric", "column"), PROTOCOLS)
def test_a_protocol_becomes_a_score_sheet_with_its_proof(
    inputs: TransferInputs, tmp_path: Path, protocol: dict[str, object], metric: str, column: str
) -> None:
    context = LocalContext(tmp_path)
    config = TransferConfig.model_validate({"protocol": protocol})
    made = run(config, inputs, context).evaluation
    sheet = ScoreSheet.model_validate_json((made.path / "evaluation.json").read_text())
    assert (made.kind, made.summary) == (ArtifactKind.evaluation, sheet.model_dump(mode="json"))
    assert (sheet.protocol, sheet.metric, sheet.table) == (ProtocolName(str(protocol["protocol"])), metric, 3)
    assert list(sheet.cells) == [column]
    assert sheet.config == config.protocol.model_dump(mode="json")
    store = AnnotatedStore.open(inputs.annotations)
    assert sheet.dataset == store.digest
    images = json.loads((made.path / "images.json").read_text())
    assert images == [store.id(image) for image in store.images("2012/test")]
    right = np.load(made.path / f"right_{column}.npy")
    assert (right.shape, right.dtype) == ((len(images),), np.float32)
    assert context.config == config


def test_the_sheet_names_the_weights_and_what_was_left_out(inputs: TransferInputs, tmp_path: Path) -> None:
    summary = run(TransferConfig.model_validate({"protocol": PROTOCOLS[0][0]}), inputs, LocalContext(tmp_path))
    sheet = ScoreSheet.model_validate(summary.evaluation.summary)
    digest = hashlib.sha256((inputs.checkpoint / "model.pt").read_bytes()).hexdigest()
    assert (sheet.checkpoint["role"], sheet.checkpoint["weights_sha256"]) == ("teacher", digest)
    assert sheet.facts["left_out_at_registration"] == {}
    assert sheet.deviations


def test_the_checkpoint_is_only_read(inputs: TransferInputs, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in inputs.checkpoint.iterdir()}
    run(TransferConfig.model_validate({"protocol": PROTOCOLS[0][0]}), inputs, LocalContext(tmp_path))
    assert {path.name: path.read_bytes() for path in inputs.checkpoint.iterdir()} == before


@pytest.mark.parametrize(("protocol", "metric", "column"), PROTOCOLS)
def test_a_stopped_evaluation_goes_on_to_the_same_sheet_and_leaves_its_state_behind(
    inputs: TransferInputs, tmp_path: Path, protocol: dict[str, object], metric: str, column: str
) -> None:
    config = TransferConfig.model_validate({"protocol": protocol})
    whole = run(config, inputs, LocalContext(tmp_path / "whole")).evaluation
    with pytest.raises(Stopped):
        run(config, inputs, LocalContext(tmp_path / "first", stop_after=1))
    assert [path.name for path in (tmp_path / "first").iterdir()] == [STATE_FILE]
    context = LocalContext(tmp_path / "second", resume_from=tmp_path / "first")
    resumed = run(config, inputs, context).evaluation
    assert "Resumed after step 2 of 2." in context.messages
    assert [path.name for path in context.workdir.iterdir()] == ["evaluation"]
    files = [f"right_{column}.npy", "images.json"]
    assert [(resumed.path / name).read_bytes() for name in files] == [
        (whole.path / name).read_bytes() for name in files
    ]
    for told in ("cells", "further", "deviations", "trunk_unchanged", "checkpoint", "config"):
        assert resumed.summary[told] == whole.summary[told]


def test_inputs_that_are_damaged_are_named(inputs: TransferInputs, tmp_path: Path) -> None:
    for damaged in (
        TransferInputs(annotations=tmp_path, checkpoint=inputs.checkpoint),
        TransferInputs(annotations=inputs.annotations, checkpoint=tmp_path),
    ):
        with pytest.raises(StageError) as error:
            run(TransferConfig(), damaged, LocalContext(tmp_path / "work"))
        assert error.value.reason is Reason.artifact_corrupt
