import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from models.checkpoint import load_checkpoint
from models.config import Arch, BackboneConfig
from models.pixels import ImagePixels
from tests.worker.stages.striped import puzzle_config, same_weights, striped_images, striped_store, with_pretext
from worker.config.pipeline import ArtifactKind
from worker.config.pretext.jigsaw import JigsawPlusConfig
from worker.config.pretrain import PretrainConfig
from worker.config.reasons import Reason
from worker.data.store import ImageStore, write_store
from worker.pictures.preview import preview
from worker.pretext.permutations import make_permutations
from worker.pretext.tasks import pretext_task
from worker.stages.contract import Produced, StageError
from worker.stages.pretrain import PretrainInputs, run
from worker.stages.standalone import LocalContext


def _teach(store: Path, config: PretrainConfig, workdir: Path) -> Produced:
    return run(config, PretrainInputs(store=store), LocalContext(workdir)).teacher


def test_the_teacher_is_a_checkpoint_that_says_what_it_is(tmp_path: Path) -> None:
    config = puzzle_config()
    teacher = _teach(striped_store(tmp_path / "store", 12, 48), config, tmp_path / "work")
    assert teacher.kind is ArtifactKind.checkpoint
    assert teacher.path == tmp_path / "work" / "teacher"
    record, backbone = load_checkpoint(teacher.path)
    assert (record.role, record.crop, record.classes) == ("teacher", 36, 8)
    assert record.pixels == ImagePixels(std=1.0)
    assert record.backbone == config.backbone
    assert backbone(torch.zeros(1, 3, 36, 36)).shape[:2] == (1, 64)


def test_examples_of_the_task_lie_beside_the_weights(tmp_path: Path) -> None:
    config = puzzle_config()
    store = striped_store(tmp_path / "store", 12, 48)
    teacher = _teach(store, config, tmp_path / "work")
    expected = preview(pretext_task(config), ImageStore.open(store), side=48, seed=config.seed)
    with Image.open(teacher.path / "preview.png") as shown:
        assert shown.tobytes() == expected.tobytes()


def test_the_summary_tells_accuracy_loss_and_chance(tmp_path: Path) -> None:
    config = puzzle_config()
    teacher = _teach(striped_store(tmp_path / "store", 12, 48), config, tmp_path / "work")
    made = make_permutations(8, 5)
    expected = {"steps": 6, "images_seen": 36, "chance_accuracy": 1 / 8, "chance_loss": math.log(8)}
    expected |= {"permutations": 8, "min_hamming": made.min_hamming, "mean_hamming": made.mean_hamming}
    assert expected.items() <= teacher.summary.items()
    assert 0 <= teacher.summary["accuracy"] <= 1
    training = load_checkpoint(teacher.path)[0].training
    assert PretrainConfig.model_validate(training.pop("config")) == config
    assert training.items() <= teacher.summary.items()


def test_stored_images_larger_than_the_puzzles_side_are_shrunk(tmp_path: Path) -> None:
    _teach(striped_store(tmp_path / "store", 12, 70), puzzle_config(epochs=1), tmp_path / "work")


@pytest.mark.parametrize(("puzzles_per_image", "epochs"), [(1, 20), (4, 12)])
def test_sixty_four_images_are_learnt_by_heart(tmp_path: Path, puzzles_per_image: int, epochs: int) -> None:
    config = puzzle_config(epochs=epochs, batch=16, lr=0.1, shape="cosine")
    config = with_pretext(config, permutations=4, dropout=0.0, puzzles_per_image=puzzles_per_image)
    teacher = _teach(striped_store(tmp_path / "store", 64, 48), config, tmp_path / "work")
    assert teacher.summary["accuracy"] > 0.95


def test_training_starts_at_chance() -> None:
    """ln(701) = 6.55 (SPEC 12.5), for the paper's head on a narrow VGG16."""
    config = with_pretext(puzzle_config(), permutations=701, norm="none", fc6=1024, fc7=512)
    network = pretext_task(config).network
    tiles = torch.randn(16 * 9, 3, 10, 10, generator=torch.Generator().manual_seed(0))
    logits = network(tiles, torch.arange(16 * 9).view(16, 9))
    loss = torch.nn.functional.cross_entropy(logits, torch.arange(16) * 40)
    assert loss.item() == pytest.approx(math.log(701), abs=0.05)


def test_a_puzzle_laid_from_shared_tiles_is_solved_as_one_with_tiles_of_its_own() -> None:
    network = pretext_task(puzzle_config()).network.eval()
    tiles = torch.randn(11, 3, 10, 10, generator=torch.Generator().manual_seed(0))
    arrangement = torch.tensor([[4, 1, 9, 3, 0, 2, 10, 8, 7], [0, 2, 1, 3, 5, 4, 6, 8, 7]])
    shared = network(tiles, arrangement)
    own = network(tiles[arrangement.flatten()], torch.arange(18).view(2, 9))
    torch.testing.assert_close(shared, own)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_are_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(StageError, match="at least two images") as caught:
        _teach(striped_store(tmp_path / "store", count, 48), puzzle_config(), tmp_path / "work")
    assert caught.value.reason is Reason.too_few_images


@pytest.mark.parametrize("config", [puzzle_config(), PretrainConfig(pretext=JigsawPlusConfig())])
def test_images_too_small_for_puzzles_are_refused(tmp_path: Path, config: PretrainConfig) -> None:
    with pytest.raises(StageError, match="32") as caught:
        _teach(striped_store(tmp_path / "store", 4, 32), config, tmp_path / "work")
    assert caught.value.reason is Reason.images_too_small


def test_tiles_too_small_for_the_network_are_refused(tmp_path: Path) -> None:
    config = puzzle_config().model_copy(update={"backbone": BackboneConfig(arch=Arch.alexnet)})
    with pytest.raises(StageError, match="too small for alexnet") as caught:
        _teach(striped_store(tmp_path / "store", 4, 48), config, tmp_path / "work")
    assert caught.value.reason is Reason.images_too_small


def test_impossible_permutations_are_refused(tmp_path: Path) -> None:
    config = with_pretext(puzzle_config(), permutations=10, min_hamming=9)
    with pytest.raises(StageError, match="Only 9 permutations") as caught:
        _teach(striped_store(tmp_path / "store", 4, 48), config, tmp_path / "work")
    assert caught.value.reason is Reason.bad_config


def test_held_out_images_and_neighbours_are_looked_at_now_and_then(tmp_path: Path) -> None:
    """Twice the same training: who looks changes nothing."""
    store = tmp_path / "store"
    paths = [f"{index:03}.png" for index in range(80)]
    write_store(store, striped_images(80, 48), paths, ["left" if index % 2 else "right" for index in range(80)])
    config = puzzle_config(epochs=4, batch=16).model_copy(update={"holdout": 0.3})
    blind, looking = LocalContext(tmp_path / "blind"), LocalContext(tmp_path / "looking")
    first = run(config, PretrainInputs(store=store), blind).teacher
    second = run(config.model_copy(update={"online_knn": True}), PretrainInputs(store=store), looking).teacher
    assert same_weights(first.path, second.path)
    knn = [value for name, _, value in looking.metrics if name == "online_knn"]
    assert len(knn) == 4
    assert all(0 <= value <= 1 for value in knn)
    losses = [value for name, _, value in blind.metrics if name == "holdout_loss"]
    assert len(losses) == 4
    assert second.summary["holdout_loss"] == losses[-1]
    assert 0 <= second.summary["holdout_accuracy"] <= 1


def test_neighbours_are_left_out_where_there_are_no_labels(tmp_path: Path) -> None:
    context = LocalContext(tmp_path / "work")
    config = puzzle_config(epochs=1).model_copy(update={"online_knn": True})
    run(config, PretrainInputs(store=striped_store(tmp_path / "store", 12, 48)), context)
    assert "online_knn" not in {name for name, _, _ in context.metrics}
