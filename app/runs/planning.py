"""From a request to a plan: which stages run, what each waits for, and whether everything they read is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.artifacts.tables import Artifact
from app.problems import FieldError, Problem
from app.runs.checks import ConfigRefused, facts_of, resolve
from worker.config.base import StageConfig
from worker.config.methods import METHOD_STAGES, Method
from worker.config.pipeline import PIPELINE, ArtifactKind, Port, StageName, StageSpec
from worker.config.run import PipelineConfig

STORE = "store"
CC = {name: PIPELINE[name] for name in METHOD_STAGES[Method.cc]}
MADE_BY: dict[str, StageName] = {role: spec.name for spec in CC.values() for role in spec.outputs}
READ_BY: dict[str, Port] = {role: port for spec in PIPELINE.values() for role, port in spec.inputs.items()}


@dataclass(frozen=True)
class Planned:
    spec: StageSpec
    needs: frozenset[StageName]
    """Stages of the same run."""
    reads_store: bool


def plan(requested: Sequence[StageName] | None, given: Mapping[str, Artifact]) -> list[Planned]:
    """The run's stages in order.

    By default all that the final results need and that `given` (role -> artifact) doesn't already answer.
    Raises Problem 422 where a role that a stage needs comes from nowhere, or a given artifact fits nowhere.
    """
    _check_given(given)
    wanted = _needed_for_results(given) if requested is None else _checked(requested)
    specs = [spec for spec in PIPELINE.values() if spec.name in wanted and not set(spec.outputs) <= set(given)]
    if not specs:
        raise Problem(422, "nothing_to_do", "No stage is left to run: their results are all given.")
    _check_all_read(specs, given)
    return [_planned(spec, specs, given) for spec in specs]


def check_configs(
    stages: Sequence[Planned], config: PipelineConfig, store: Artifact | None, given: Mapping[str, Artifact]
) -> None:
    """Refuse at once what the dataset's facts forbid; 422 with the reason as its code."""
    for stage in stages:
        features = given.get("features") if "features" in stage.spec.inputs else None
        facts = facts_of(store if stage.reads_store or features is None else None, features)
        if facts is None:
            continue
        try:
            resolve(stage_config(config, stage.spec.name), facts)
        except ConfigRefused as refused:
            path = f"config.{stage.spec.name}.{refused.path}"
            message = str(refused)
            raise Problem(422, refused.reason, f"{path}: {message}", [FieldError(path=path, message=message)]) from None


def stage_config(config: PipelineConfig, name: StageName) -> StageConfig:
    part = getattr(config, name)
    assert isinstance(part, StageConfig)
    return part


def _check_given(given: Mapping[str, Artifact]) -> None:
    for role, artifact in given.items():
        path = f"inputs.{role}"
        if role == STORE or role not in READ_BY:
            known = ", ".join(sorted(set(READ_BY) - {STORE}))
            raise _refused("unknown_role", path, f"There is no input {role!r}; known: {known}.")
        kind: ArtifactKind = READ_BY[role].kind
        if artifact.kind != kind:
            raise _refused("wrong_artifact_kind", path, f"{role!r} takes a {kind}, not a {artifact.kind}.")


def _checked(requested: Sequence[StageName]) -> set[StageName]:
    for name in requested:
        if name not in PIPELINE:
            known = ", ".join(PIPELINE)
            raise _refused("unknown_stage", "stages", f"{name!r} is no stage of the pipeline; known: {known}.")
    return set(requested)


def _needed_for_results(given: Mapping[str, Artifact]) -> set[StageName]:
    """The stages whose outputs nobody must have, and whatever they can't do without."""
    must = {role for spec in CC.values() for role, port in spec.inputs.items() if not port.optional}
    waiting = [spec for spec in CC.values() if not set(spec.outputs) & must]
    needed: set[StageName] = set()
    while waiting:
        spec = waiting.pop()
        needed.add(spec.name)
        roles = [role for role, port in spec.inputs.items() if not port.optional and role not in given]
        waiting += [PIPELINE[MADE_BY[role]] for role in roles if role != STORE]
    return needed


def _check_all_read(specs: Sequence[StageSpec], given: Mapping[str, Artifact]) -> None:
    for role in given:
        if not any(role in spec.inputs for spec in specs):
            raise _refused("unused_input", f"inputs.{role}", f"No stage of this run reads {role!r}.")


def _planned(spec: StageSpec, specs: Sequence[StageSpec], given: Mapping[str, Artifact]) -> Planned:
    running = {other.name for other in specs}
    needs: set[StageName] = set()
    for role, port in spec.inputs.items():
        if role == STORE or role in given:
            continue
        if MADE_BY[role] in running:
            needs.add(MADE_BY[role])
        elif not port.optional:
            message = f"`{spec.name}` needs {role!r}: run `{MADE_BY[role]}` too, or give a {port.kind} as this input."
            raise _refused("missing_input", f"inputs.{role}", message)
    return Planned(spec=spec, needs=frozenset(needs), reads_store=STORE in spec.inputs)


def _refused(code: str, path: str, message: str) -> Problem:
    return Problem(422, code, message, [FieldError(path=path, message=message)])
