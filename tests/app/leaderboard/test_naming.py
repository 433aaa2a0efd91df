"""What a checkpoint is called, by its lineage."""

import uuid
from typing import Any, get_args

import pytest

from app.artifacts.tables import Artifact
from app.leaderboard.ancestry import Ancestor
from app.leaderboard.naming import PRETEXTS, is_untrained, method_of
from worker.config.pipeline import StageName
from worker.config.pretext import AnyPretext

VGG: dict[str, Any] = {"backbone": {"arch": "vgg16"}}
ALEXNET: dict[str, Any] = {"backbone": {"arch": "alexnet-torchvision"}}


class Tree:
    """A lineage, grown from its roots."""

    def __init__(self) -> None:
        self.ancestry: dict[uuid.UUID, Ancestor] = {}

    def made(self, stage: str, config: dict[str, Any] | None = None, **inputs: uuid.UUID) -> uuid.UUID:
        key = uuid.uuid4()
        self.ancestry[key] = Ancestor(Artifact(id=key), StageName(stage), config or {}, uuid.uuid4(), inputs)
        return key

    def pretrained(self, task: str, network: dict[str, Any] = ALEXNET, **settings: str) -> uuid.UUID:
        return self.made("pretrain", {**network, "pretext": {"task": task, **settings}})

    def clustered(self, teacher: uuid.UUID) -> uuid.UUID:
        """The student of a teacher's clusters."""
        features = self.made("extract", teacher=teacher)
        labels = self.made("label", features=features, centroids=self.made("cluster", features=features))
        return self.made("classify", ALEXNET, labels=labels)

    def name(self, checkpoint: uuid.UUID) -> str:
        return method_of(checkpoint, self.ancestry)


@pytest.fixture
def tree() -> Tree:
    return Tree()


def test_a_pretext_network_has_its_tasks_name(tree: Tree) -> None:
    assert tree.name(tree.pretrained("jigsaw++")) == "Jigsaw++"
    assert tree.name(tree.pretrained("jigsaw++", VGG)) == "vgg-Jigsaw++"
    assert tree.name(tree.pretrained("jigsaw")) == "Jigsaw"
    assert tree.name(tree.pretrained("rotation")) == "Rotation"
    assert tree.name(tree.pretrained("a task of tomorrow")) == "a task of tomorrow"


def test_context_prediction_is_called_by_its_guard_against_chromatic_aberration(tree: Tree) -> None:
    names = {colour: tree.name(tree.pretrained("context", colour=colour)) for colour in ("drop", "projection", "keep")}
    assert names == {"drop": "Context-ColorDrop", "projection": "Context-ColorProjection", "keep": "Context"}
    assert tree.name(tree.clustered(tree.pretrained("context", VGG, colour="keep"))) == "CC+vgg-Context"


def test_every_pretext_task_has_a_name(tree: Tree) -> None:
    assert set(PRETEXTS) >= {config.model_fields["task"].default for config in get_args(get_args(AnyPretext)[0])}


def test_clusters_of_a_teacher_are_cc_over_it(tree: Tree) -> None:
    assert tree.name(tree.clustered(tree.pretrained("jigsaw++", VGG))) == "CC+vgg-Jigsaw++"
    assert tree.name(tree.clustered(tree.pretrained("jigsaw++"))) == "CC+Jigsaw++"
    assert tree.name(tree.clustered(tree.made("initialise", {**ALEXNET, "calibrate": False}))) == "CC+Random"
    assert tree.name(tree.clustered(tree.made("import_weights", VGG))) == "CC+vgg-imported"
    resnet = {"backbone": {"arch": "torchvision:resnet18"}}
    assert tree.name(tree.clustered(tree.made("import_weights", resnet))) == "CC+resnet18-imported"


def test_a_student_may_teach_again(tree: Tree) -> None:
    assert tree.name(tree.clustered(tree.clustered(tree.pretrained("jigsaw++", VGG)))) == "CC+CC+vgg-Jigsaw++"


def test_clusters_without_a_teacher(tree: Tree) -> None:
    words = tree.made("hog")
    labels = tree.made("label", features=words, centroids=tree.made("cluster", features=words))
    assert tree.name(tree.made("classify", ALEXNET, labels=labels)) == "CC+HOG"


def test_other_labels(tree: Tree) -> None:
    assert tree.name(tree.made("classify", ALEXNET, labels=tree.made("class_labels"))) == "Supervised"
    assert tree.name(tree.made("classify", ALEXNET, labels=tree.made("import_labels"))) == "CC+imported labels"


def test_regression_of_a_teachers_maps(tree: Tree) -> None:
    teacher = tree.pretrained("jigsaw++", VGG)
    assert tree.name(tree.made("regress", ALEXNET, teacher=teacher)) == "[37]+vgg-Jigsaw++"


def test_untrained_networks(tree: Tree) -> None:
    plain = tree.made("initialise", {**ALEXNET, "calibrate": False})
    calibrated = tree.made("initialise", {**ALEXNET, "calibrate": True})
    assert (tree.name(plain), tree.name(calibrated)) == ("Random", "Random (calibrated)")
    assert is_untrained(plain, tree.ancestry)
    assert not is_untrained(tree.clustered(plain), tree.ancestry)
