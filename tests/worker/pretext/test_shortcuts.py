from pathlib import Path
from typing import Any

import pytest

from tests.worker.pretext.learning import task_of
from tests.worker.stages.striped import striped_store
from worker.config.presets import Preset, preset_config
from worker.config.pretext.jigsaw import JigsawConfig, JigsawPlusConfig, PuzzleConfig
from worker.data.store import ImageStore
from worker.pretext.shortcuts import open_shortcuts
from worker.stages.standalone import LocalContext


@pytest.mark.parametrize("side", [48, 96, 160, 256])
@pytest.mark.parametrize("config", [JigsawPlusConfig(), JigsawConfig()])
def test_the_defaults_leave_none_open(config: PuzzleConfig, side: int) -> None:
    assert open_shortcuts(config.resolved(side)) == []


@pytest.mark.parametrize("preset", list(Preset))
def test_the_presets_leave_none_open(preset: Preset) -> None:
    config = preset_config(preset).pretrain.pretext.resolved(256)
    assert isinstance(config, PuzzleConfig)
    assert open_shortcuts(config) == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"tile": 64, "jitter": 0}, ["always cut 21 px apart"]),
        ({"tile": 85, "jitter": 0, "channel_jitter": 0, "grey": 0.5}, ["cut 0 px apart on average"]),
        ({"tile": 80, "jitter": 3, "channel_jitter": 2}, ["cut 5 px apart on average"]),
        ({"channel_jitter": 0}, ["shifts colours"]),
        ({"channel_jitter": 0, "projection": 0.5}, []),
        ({"channel_jitter": 0, "grey": 0.5}, []),
        ({"tile": 85, "jitter": 0, "channel_jitter": 0}, ["cut 0 px apart on average", "shifts colours"]),
    ],
)
def test_each_open_shortcut_is_one_sentence(settings: dict[str, Any], told: list[str]) -> None:
    found = open_shortcuts(JigsawConfig(**settings).resolved(256))
    assert len(found) == len(told)
    assert all(words in sentence for words, sentence in zip(told, found, strict=True))


def test_the_run_is_warned(tmp_path: Path) -> None:
    store = ImageStore.open(striped_store(tmp_path / "store", 2, 48))
    context = LocalContext(tmp_path)
    config = JigsawConfig(permutations=8, tile=16, jitter=0, channel_jitter=0, crop=48)
    task_of(config).prepare(store, context)
    warnings = [message for message in context.messages if "shortcut" in message]
    assert len(warnings) == 2
