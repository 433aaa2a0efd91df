"""What can be asked of a run: make it, cancel it, resume it."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.artifacts.lookup import find_artifact
from app.artifacts.networks import backbone_of
from app.artifacts.tables import Artifact
from app.datasets.lookup import check_holds_images, hold_dataset
from app.datasets.tables import Dataset, DatasetState
from app.journal.events import append_event
from app.problems import FieldError, Problem, invalid
from app.runs.advance import advance, end_stage, lock_run, stages_of
from app.runs.planning import Planned, check_configs, check_tap, plan, stage_config
from app.runs.schemas import RunCreate
from app.runs.tables import TERMINAL, Run, RunKind, RunState, Stage, StageDependency, StageState
from app.settings import Settings
from app.workers.live import live_workers
from worker.config.base import StageConfig
from worker.config.pipeline import StageName
from worker.config.presets import preset_config, with_overrides
from worker.config.reasons import Reason
from worker.config.run import PipelineConfig


@dataclass(frozen=True)
class Job:
    """A stage to be: what it is called, how it is set, what it waits for."""

    name: StageName
    config: StageConfig
    needs: Collection[StageName] = ()
    """In the same run."""
    reads_store: bool = False


def create(session: Session, settings: Settings, request: RunCreate) -> Run:
    """Plan, check and start a run; Problem 4xx where the request can't work."""
    config = _config(request)
    given = _given(session, request.inputs)
    stages = plan(request.method, request.stages, given)
    dataset = _dataset(session, request.dataset, stages)
    store = session.get(Artifact, dataset.store_id) if dataset and dataset.store_id else None
    check_configs(stages, config, store, given)
    check_tap(stages, config, backbone_of(session, given["teacher"]) if "teacher" in given else None)
    check_device(session, settings, request.device)
    run = Run(
        name=request.name,
        dataset_id=dataset.id if dataset else None,
        preset=request.preset,
        config={"method": request.method, **config.model_dump(mode="json")},
        inputs={role: str(artifact.id) for role, artifact in given.items()},
        device=request.device,
    )
    jobs = [Job(s.spec.name, stage_config(config, s.spec.name), s.needs, s.reads_store) for s in stages]
    return start(session, run, jobs)


def start(session: Session, run: Run, jobs: Sequence[Job]) -> Run:
    """Store a run with its stages, and let those begin that wait for nothing. 409 `name_taken`."""
    session.add(run)
    try:
        session.flush()
    except IntegrityError as error:
        raise Problem(409, "name_taken", f"There is a run named {run.name!r} already.") from error
    append_event(session, run.id, f"run.{run.state}", {})
    ids = {job.name: uuid.uuid4() for job in jobs}
    registration = _registration(session, run)
    for position, job in enumerate(jobs):
        config = job.config.model_dump(mode="json")
        session.add(Stage(id=ids[job.name], run_id=run.id, name=job.name, position=position, config=config))
        needs = [ids[name] for name in job.needs]
        if job.reads_store and registration is not None:
            needs.append(registration)
        session.add_all(StageDependency(stage_id=ids[job.name], needs_id=needed) for needed in needs)
    advance(session, run.id)
    return run


def cancel(session: Session, run_id: uuid.UUID) -> Run:
    """Stop what waits at once, ask what runs to stop. Asking twice is harmless; 409 `run_finished` after the end."""
    run = lock_run(session, run_id)
    if run.state in TERMINAL:
        raise Problem(409, "run_finished", f"The run is {run.state} already.")
    if run.cancel_requested_at is None:
        run.cancel_requested_at = func.now()
        for stage in stages_of(session, run_id):
            _cancel_stage(session, stage)
        advance(session, run_id)
    return run


def resume(session: Session, run_id: uuid.UUID) -> Run:
    """Try again what did not succeed, from what it saved; 409 `run_not_resumable` unless failed or cancelled."""
    # A registration's end locks its run, the dataset, then the runs that wait: the same order here.
    run = session.get_one(Run, run_id)
    if run.kind != RunKind.ingest:
        _dataset_of(session, run)
    run = lock_run(session, run_id)
    if run.state not in {RunState.failed, RunState.cancelled}:
        raise Problem(409, "run_not_resumable", f"The run is {run.state}; only a failed or cancelled one resumes.")
    if run.kind == RunKind.ingest:
        dataset = _dataset_of(session, run)
        assert dataset is not None
        dataset.state, dataset.reason, dataset.detail = DatasetState.registering, None, None
    for stage in stages_of(session, run_id):
        if stage.state != StageState.succeeded:
            _reopen(stage)
    run.state, run.reason, run.detail = RunState.queued, None, None
    run.cancel_requested_at = run.finished_at = None
    append_event(session, run_id, "run.queued", {"resumed": True})
    advance(session, run_id)
    return run


def _config(request: RunCreate) -> PipelineConfig:
    try:
        return with_overrides(preset_config(request.preset), request.config)
    except ValidationError as error:
        raise invalid(error, below="config") from error


def _given(session: Session, inputs: Mapping[str, str]) -> dict[str, Artifact]:
    given: dict[str, Artifact] = {}
    for role, ref in inputs.items():
        artifact = find_artifact(session, ref)
        if artifact is None:
            path, message = f"inputs.{role}", f"There is no artifact {ref!r}."
            raise Problem(422, "unknown_artifact", message, [FieldError(path=path, message=message)])
        given[role] = artifact
    return given


def _dataset(session: Session, ref: str | None, stages: Sequence[Planned]) -> Dataset | None:
    if ref is not None:
        dataset = hold_dataset(session, ref)
        check_usable(dataset)
        check_holds_images(dataset)
        return dataset
    reader = next((stage.spec.name for stage in stages if stage.reads_store), None)
    if reader is not None:
        raise Problem(422, "missing_dataset", f"`{reader}` reads images: name a dataset.")
    return None


def check_usable(dataset: Dataset) -> None:
    if dataset.state == DatasetState.failed:
        raise Problem(409, "dataset_failed", f"The dataset's registration failed: {dataset.detail or dataset.reason}")


def check_device(session: Session, settings: Settings, device: str) -> None:
    if device == "cuda" and not any(worker.device.startswith("cuda") for worker in live_workers(session, settings)):
        raise Problem(409, "device_unavailable", "No worker with a CUDA device is there.")


def _registration(session: Session, run: Run) -> uuid.UUID | None:
    """The stage that ingests the run's dataset, while that isn't done."""
    return session.scalar(
        select(Stage.id)
        .join(Run, Run.id == Stage.run_id)
        .where(Run.dataset_id == run.dataset_id, Run.kind == RunKind.ingest, Run.id != run.id)
        .where(Stage.state != StageState.succeeded)
    )


def _cancel_stage(session: Session, stage: Stage) -> None:
    if stage.state in {StageState.pending, StageState.queued}:
        end_stage(session, stage, StageState.cancelled, Reason.cancelled)
    elif stage.state == StageState.running:
        stage.cancel_requested_at = func.now()


def _reopen(stage: Stage) -> None:
    stage.state = StageState.pending
    stage.failure_count = 0
    stage.reason = stage.detail = None
    stage.cancel_requested_at = stage.not_before = stage.finished_at = stage.rung_at = None


def _dataset_of(session: Session, run: Run) -> Dataset | None:
    """The run's dataset, which can't be deleted from now on; 409 `dataset_deleted`."""
    if run.dataset_id is None:
        return None
    dataset = session.get_one(Dataset, run.dataset_id, with_for_update={"read": True}, populate_existing=True)
    if dataset.deleted_at is not None:
        raise Problem(409, "dataset_deleted", "The run's dataset was deleted.")
    return dataset
