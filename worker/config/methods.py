"""The methods of the paper's tables: which stages make a student out of images."""

from enum import StrEnum

from worker.config.pipeline import StageName


class Method(StrEnum):
    cc = "cc"
    """Cluster classification over a teacher: trained on a pretext task in this run, or given as an input."""
    cc_hog = "cc+hog"
    """Clusters of hand-made descriptors (SPEC 7.1): no teacher."""
    cc_random = "cc+random"
    """Clusters of an untrained network."""
    regression = "regression"
    """The student regresses the teacher's maps, no clusters: "[37]" (SPEC 7.3)."""
    supervised = "supervised"
    """The dataset's own labels in place of clusters."""
    pretext = "pretext"
    """The pretext network itself, without transfer."""


_AFTER = (StageName.export, StageName.evaluate, StageName.report)
_CC = (StageName.cluster, StageName.label, StageName.classify)

METHOD_STAGES: dict[Method, tuple[StageName, ...]] = {
    Method.cc: (StageName.pretrain, StageName.extract, *_CC, *_AFTER),
    Method.cc_hog: (StageName.hog, *_CC, *_AFTER),
    Method.cc_random: (StageName.initialise, StageName.extract, *_CC, *_AFTER),
    # No report: it is about clusters.
    Method.regression: (StageName.pretrain, StageName.regress, StageName.export, StageName.evaluate),
    Method.supervised: (StageName.class_labels, StageName.classify, *_AFTER),
    Method.pretext: (StageName.pretrain,),
}
