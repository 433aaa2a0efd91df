"""A run's state is what its stages' states say."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.runs.tables import TERMINAL, Run, RunState, Stage, StageState
from worker.config.reasons import Reason


@dataclass(frozen=True)
class Outcome:
    state: RunState
    reason: str | None = None
    detail: str | None = None


def outcome(run: Run, stages: Sequence[Stage]) -> Outcome:
    if any(stage.state not in TERMINAL for stage in stages):
        return Outcome(_live_state(run, stages))
    failed = next((stage for stage in stages if stage.state == StageState.failed), None)
    if failed is not None:
        return Outcome(RunState.failed, failed.reason, f"{failed.name}: {failed.detail or failed.reason}")
    cancelled = next((stage for stage in stages if stage.state == StageState.cancelled), None)
    if cancelled is None:
        return Outcome(RunState.succeeded)
    if run.cancel_requested_at is not None:
        return Outcome(RunState.cancelled, Reason.cancelled)
    return Outcome(RunState.failed, cancelled.reason, f"{cancelled.name}: {cancelled.detail or cancelled.reason}")


def _live_state(run: Run, stages: Sequence[Stage]) -> RunState:
    if run.cancel_requested_at is not None:
        return RunState.cancelling
    if run.state == RunState.running or any(stage.state == StageState.running for stage in stages):
        return RunState.running
    return RunState.queued
