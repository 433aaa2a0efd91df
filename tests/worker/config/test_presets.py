"""A request's overrides, laid over a preset."""

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from worker.config.presets import Preset, preset_config, with_overrides
from worker.config.pretext import AnyPretext
from worker.config.pretext.rotation import RotationConfig
from worker.config.run import PipelineConfig

TASKS = [config.model_fields["task"].default for config in get_args(get_args(AnyPretext)[0])]


def laid_over(preset: Preset, overrides: dict[str, Any]) -> PipelineConfig:
    return with_overrides(preset_config(preset), overrides)


def test_the_other_settings_stay() -> None:
    config = laid_over(Preset.demo, {"pretrain": {"pretext": {"permutations": 50}}})
    before = preset_config(Preset.demo)
    assert config.pretrain.pretext == before.pretrain.pretext.model_copy(update={"permutations": 50})
    assert config.classify == before.classify


@pytest.mark.parametrize("preset", list(Preset))
@pytest.mark.parametrize("task", TASKS)
def test_another_task_needs_nothing_but_its_name(preset: Preset, task: str) -> None:
    pretext = laid_over(preset, {"pretrain": {"pretext": {"task": task}}}).pretrain.pretext
    assert pretext.task == task
    assert pretext.side == preset_config(preset).pretrain.pretext.side
    pretext.resolved(160)


def test_another_task_takes_settings_of_its_own() -> None:
    overrides = {"pretrain": {"pretext": {"task": "rotation", "side": 128, "all_turns": False}}}
    assert laid_over(Preset.demo, overrides).pretrain.pretext == RotationConfig(side=128, all_turns=False)


def test_a_librarys_network_needs_nothing_but_its_name() -> None:
    config = laid_over(Preset.demo, {"pretrain": {"backbone": {"arch": "torchvision:resnet18"}}})
    assert config.pretrain.backbone.arch == "torchvision:resnet18"


def test_another_network_of_ours_keeps_its_width() -> None:
    assert laid_over(Preset.demo, {"pretrain": {"backbone": {"arch": "alexnet"}}}).pretrain.backbone.width == 0.25


def test_minutes_alone_ask_for_the_epochs_that_fit() -> None:
    assert laid_over(Preset.small, {"pretrain": {"schedule": {"minutes": 5}}}).pretrain.schedule.epochs == "auto"
    both = {"pretrain": {"schedule": {"minutes": 5, "epochs": 3}}}
    assert laid_over(Preset.small, both).pretrain.schedule.epochs == 3


def test_an_unknown_setting_is_refused_by_its_name() -> None:
    with pytest.raises(ValidationError, match="permutation_count"):
        laid_over(Preset.small, {"pretrain": {"pretext": {"permutation_count": 3}}})
