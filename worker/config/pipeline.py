"""The static graph of stages: what each reads and what each makes."""

from enum import StrEnum

from worker.config.base import Config


class ArtifactKind(StrEnum):
    upload = "upload"
    image_store = "image_store"
    annotated_store = "annotated_store"
    checkpoint = "checkpoint"
    feature_set = "feature_set"
    centroids = "centroids"
    pseudo_label_set = "pseudo_label_set"
    weights = "weights"
    evaluation = "evaluation"
    report = "report"


class StageName(StrEnum):
    # Registration of a dataset, of imported weights, of imported pseudo-labels: a run of one stage each.
    ingest = "ingest"
    import_weights = "import_weights"
    import_labels = "import_labels"
    ingest_voc = "ingest_voc"
    # The pipeline, in order.
    initialise = "initialise"
    pretrain = "pretrain"
    hog = "hog"
    extract = "extract"
    cluster = "cluster"
    label = "label"
    class_labels = "class_labels"
    classify = "classify"
    regress = "regress"
    export = "export"
    evaluate = "evaluate"
    report = "report"
    # Evaluations of one checkpoint by one protocol: a run of one stage each.
    probe = "probe"
    transfer = "transfer"


class Port(Config):
    """One input of a stage: a role, the artifact kind that fits it, and whether the stage runs without it."""

    kind: ArtifactKind
    optional: bool = False


class StageSpec(Config):
    name: StageName
    inputs: dict[str, Port]
    """Role -> what fits. What no stage of the run makes must come with the request; `store` is the dataset's."""
    outputs: dict[str, ArtifactKind]
    code_version: int = 1
    """Raised whenever the stage's results change for the same config and inputs; part of the stage key."""


def _port(kind: ArtifactKind, *, optional: bool = False) -> Port:
    return Port(kind=kind, optional=optional)


_STORE = _port(ArtifactKind.image_store)
_CHECKPOINT = _port(ArtifactKind.checkpoint)
_MAYBE_CHECKPOINT = _port(ArtifactKind.checkpoint, optional=True)
_LABELS = _port(ArtifactKind.pseudo_label_set)
_MAYBE_LABELS = _port(ArtifactKind.pseudo_label_set, optional=True)

FURTHER_LABELS = ("labels2", "labels3", "labels4")
"""Roles of other clusterings of the same images that the student learns beside the first, a head each."""

PIPELINE: dict[StageName, StageSpec] = {
    spec.name: spec
    for spec in (
        StageSpec(name=StageName.initialise, inputs={"store": _STORE}, outputs={"teacher": ArtifactKind.checkpoint}),
        StageSpec(name=StageName.pretrain, inputs={"store": _STORE}, outputs={"teacher": ArtifactKind.checkpoint}),
        StageSpec(
            name=StageName.hog,
            inputs={"store": _STORE, "codebook": _port(ArtifactKind.feature_set, optional=True)},
            outputs={"features": ArtifactKind.feature_set},
        ),
        StageSpec(
            name=StageName.extract,
            inputs={"store": _STORE, "teacher": _CHECKPOINT},
            outputs={"features": ArtifactKind.feature_set},
        ),
        StageSpec(
            name=StageName.cluster,
            inputs={"features": _port(ArtifactKind.feature_set)},
            outputs={"centroids": ArtifactKind.centroids},
        ),
        StageSpec(
            name=StageName.label,
            inputs={
                "store": _STORE,
                "features": _port(ArtifactKind.feature_set),
                "centroids": _port(ArtifactKind.centroids),
            },
            outputs={"labels": ArtifactKind.pseudo_label_set},
        ),
        StageSpec(
            name=StageName.class_labels,
            inputs={"store": _STORE},
            outputs={"labels": ArtifactKind.pseudo_label_set},
        ),
        StageSpec(
            name=StageName.classify,
            inputs={"store": _STORE, "labels": _LABELS, **dict.fromkeys(FURTHER_LABELS, _MAYBE_LABELS)},
            outputs={"student": ArtifactKind.checkpoint},
        ),
        StageSpec(
            name=StageName.regress,
            inputs={"store": _STORE, "teacher": _CHECKPOINT},
            outputs={"student": ArtifactKind.checkpoint},
        ),
        StageSpec(
            name=StageName.export,
            inputs={"student": _CHECKPOINT, "teacher": _MAYBE_CHECKPOINT},
            outputs={"weights": ArtifactKind.weights},
        ),
        StageSpec(
            name=StageName.evaluate,
            inputs={"store": _STORE, "student": _CHECKPOINT, "teacher": _MAYBE_CHECKPOINT},
            outputs={"evaluation": ArtifactKind.evaluation},
            code_version=3,
        ),
        StageSpec(
            name=StageName.report,
            inputs={
                "store": _STORE,
                "labels": _LABELS,
                "student": _CHECKPOINT,
                "teacher": _MAYBE_CHECKPOINT,
                "centroids": _port(ArtifactKind.centroids, optional=True),
                "evaluation": _port(ArtifactKind.evaluation, optional=True),
                "weights": _port(ArtifactKind.weights, optional=True),
            },
            outputs={"report": ArtifactKind.report},
            code_version=2,
        ),
    )
}
"""The stages of pipeline runs, in topological order. Where several make a role, `worker.config.methods` chooses."""

REGISTRATIONS: dict[StageName, StageSpec] = {
    StageName.ingest: StageSpec(name=StageName.ingest, inputs={}, outputs={"store": ArtifactKind.image_store}),
    StageName.ingest_voc: StageSpec(
        name=StageName.ingest_voc, inputs={}, outputs={"annotations": ArtifactKind.annotated_store}
    ),
    StageName.import_weights: StageSpec(
        name=StageName.import_weights,
        inputs={"upload": _port(ArtifactKind.upload)},
        outputs={"checkpoint": ArtifactKind.checkpoint},
    ),
    StageName.import_labels: StageSpec(
        name=StageName.import_labels,
        inputs={"store": _STORE, "upload": _port(ArtifactKind.upload)},
        outputs={"labels": ArtifactKind.pseudo_label_set},
    ),
}
"""Runs of one stage. `ingest` reads no artifact: its `source` path is resolved by the worker from the dataset's row."""

EVALUATIONS: dict[StageName, StageSpec] = {
    StageName.probe: StageSpec(
        name=StageName.probe,
        code_version=4,
        inputs={"store": _STORE, "checkpoint": _CHECKPOINT},
        outputs={"evaluation": ArtifactKind.evaluation},
    ),
    StageName.transfer: StageSpec(
        name=StageName.transfer,
        code_version=3,
        inputs={"annotations": _port(ArtifactKind.annotated_store), "checkpoint": _CHECKPOINT},
        outputs={"evaluation": ArtifactKind.evaluation},
    ),
}
"""Runs of one stage that judge a checkpoint; their evaluation is a `worker.config.scores.ScoreSheet`."""

STAGES: dict[StageName, StageSpec] = {**REGISTRATIONS, **PIPELINE, **EVALUATIONS}
