"""From a request to a plan: which stages run, what each waits for, and whether everything they read is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.artifacts.tables import Artifact
from app.problems import FieldError, Problem
from app.runs.checks import ConfigRefused, facts_of, resolve
from models.config import BackboneConfig
from worker.config.base import StageConfig
from worker.config.methods import METHOD_STAGES, Method
from worker.config.pipeline import PIPELINE, ArtifactKind, Port, StageName, StageSpec
from worker.config.probe import TAPS
from worker.config.run import PipelineConfig

STORE = "store"
READ_BY: dict[str, Port] = {role: port for spec in PIPELINE.values() for role, port in spec.inputs.items()}


@dataclass(frozen=True)
class Planned:
    spec: StageSpec
    needs: frozenset[StageName]
    """Stages of the same run."""
    reads_store: bool


def plan(method: Method, requested: Sequence[StageName] | None, given: Mapping[str, Artifact]) -> list[Planned]:
    """The run's stages in order.

    By default all of the method's that its final results need and that `given` (role -> artifact) doesn't already
    answer. Raises Problem 422 where a role that a stage needs comes from nowhere or from two stages, or a given
    artifact fits nowhere.
    """
    _check_given(given)
    wanted = _needed_for_results(method, given) if requested is None else _checked(requested)
    specs = [spec for spec in PIPELINE.values() if spec.name in wanted and not set(spec.outputs) <= set(given)]
    if not specs:
        raise Problem(422, "nothing_to_do", "No stage is left to run: their results are all given.")
    makers = _makers(specs)
    _check_all_read(specs, given)
    return [_planned(spec, makers, method, given) for spec in specs]


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
            path = ".".join(filter(None, ("config", stage.spec.name, refused.path)))
            message = str(refused)
            raise Problem(422, refused.reason, f"{path}: {message}", [FieldError(path=path, message=message)]) from None


def check_tap(stages: Sequence[Planned], config: PipelineConfig, given: BackboneConfig | None) -> None:
    """Refuse features of a map that the teacher lacks: the `given` one, or the one that the run makes.

    Only building a library's network tells its maps: of those the stage does it.
    """
    names = {stage.spec.name for stage in stages}
    made = config.initialise.backbone if StageName.initialise in names else config.pretrain.backbone
    teacher = made if names & {StageName.initialise, StageName.pretrain} else given
    if StageName.extract not in names or teacher is None or teacher.library or config.extract.tap in TAPS:
        return
    message = f"The teacher ({teacher.arch}) has no map called {config.extract.tap!r}; it has {', '.join(TAPS)}."
    raise _refused("unknown_tap", "config.extract.tap", message)


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


def _needed_for_results(method: Method, given: Mapping[str, Artifact]) -> set[StageName]:
    """The method's stages whose outputs none of them must have, and whatever those can't do without."""
    specs = [PIPELINE[name] for name in METHOD_STAGES[method]]
    made_by = {role: spec for spec in specs for role in spec.outputs}
    must = {role for spec in specs for role, port in spec.inputs.items() if not port.optional}
    waiting = [spec for spec in specs if not set(spec.outputs) & must]
    needed: set[StageName] = set()
    while waiting:
        spec = waiting.pop()
        needed.add(spec.name)
        roles = [role for role, port in spec.inputs.items() if not port.optional and role not in given]
        waiting += [made_by[role] for role in roles if role in made_by]
    return needed


def _makers(specs: Sequence[StageSpec]) -> dict[str, StageName]:
    """Role -> the one stage of the run that makes it."""
    makers: dict[str, StageName] = {}
    for spec in specs:
        for role in spec.outputs:
            if role in makers:
                message = f"`{makers[role]}` and `{spec.name}` both make {role!r}: a run has one of them."
                raise _refused("ambiguous_role", "stages", message)
            makers[role] = spec.name
    return makers


def _check_all_read(specs: Sequence[StageSpec], given: Mapping[str, Artifact]) -> None:
    for role in given:
        if not any(role in spec.inputs for spec in specs):
            raise _refused("unused_input", f"inputs.{role}", f"No stage of this run reads {role!r}.")


def _planned(
    spec: StageSpec, makers: Mapping[str, StageName], method: Method, given: Mapping[str, Artifact]
) -> Planned:
    needs: set[StageName] = set()
    for role, port in spec.inputs.items():
        if role == STORE or role in given:
            continue
        if role in makers:
            needs.add(makers[role])
        elif not port.optional:
            maker = _usual_maker(role, method)
            message = f"`{spec.name}` needs {role!r}: run `{maker}` too, or give a {port.kind} as this input."
            raise _refused("missing_input", f"inputs.{role}", message)
    return Planned(spec=spec, needs=frozenset(needs), reads_store=STORE in spec.inputs)


def _usual_maker(role: str, method: Method) -> StageName:
    """The method's maker of a role, else the pipeline's first."""
    stages = (*METHOD_STAGES[method], *METHOD_STAGES[Method.cc], *PIPELINE)
    return next(name for name in stages if role in PIPELINE[name].outputs)


def _refused(code: str, path: str, message: str) -> Problem:
    return Problem(422, code, message, [FieldError(path=path, message=message)])
