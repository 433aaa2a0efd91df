import pytest

from tests.worker.evaluation.detectors.drawn import drawn_store
from worker.config.transfer import VocDetectionProtocol
from worker.evaluation.detectors.deviations import deviations
from worker.evaluation.detectors.scenes import objects_of
from worker.evaluation.detectors.task import DetectionTask

ASKED = {"proposals_source": "selective_search", "precision": "fp32"}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> DetectionTask:
    """Three images teach, one judges."""
    store = drawn_store(tmp_path_factory.mktemp("drawn") / "store")
    classes = ["ball", "cube"]
    return DetectionTask(store, classes, [0, 1, 2], [3], objects_of(store, [3], classes), [], [], 0, 0)


def told(task: DetectionTask, **asked: object) -> list[str]:
    return list(deviations(VocDetectionProtocol.model_validate({**ASKED, **asked}), task))


def test_the_images_are_counted_beside_the_papers(task: DetectionTask) -> None:
    found = told(task)
    assert found[0] == "There are 2 classes, not 20."
    assert found[1] == "3 images teach and 1 judge; VOC2007 has 5011 and 4952."


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"weight_decay": 1e-6}, "The weight decay is 1e-06, not 0.0005."),
        ({"frozen": 0}, "No layer stays as it is; the published code freezes conv1."),
        ({"frozen": 3}, "conv1 to conv3 stay as they are; the published code freezes conv1."),
        ({"proposals": 300}, "At most 300 proposals of an image are looked at."),
        ({"rois": 32}, "32 boxes of an image teach in a step, not 64."),
        ({"max_side": 500}, "Images are shown with at most 500 pixels to a side, not 2000."),
        ({"nms": 0.5}, "Boxes are dropped that overlap a surer one by 0.5, not 0.3."),
        ({"detections": 20}, "At most 20 boxes of an image are judged, not 100."),
        ({"scales": (300,)}, "Training scales are 300 pixels."),
        ({"test_scale": 300}, "The single test scale is 300 pixels, not 600."),
        ({"ap": "all-point"}, "The AP is the area below the curve, not the mean at eleven recalls."),
    ],
)
def test_every_setting_that_differs_is_told(task: DetectionTask, asked: dict[str, object], sentence: str) -> None:
    assert set(told(task, **asked)) - set(told(task)) == {sentence}
