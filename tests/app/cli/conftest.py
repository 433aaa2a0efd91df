import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from app.cli.main import main
from app.client.client import PassdownClient
from tests.app.client.conftest import client, listening
from tests.app.client.listening import Listening
from tests.app.hand import Hand

__all__ = ["client", "listening"]

Command = Callable[..., int]


@pytest.fixture
def command(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `passdown ...` against the real API, and returns its exit code."""
    monkeypatch.setenv("PASSDOWN_URL", listening.url)

    def command(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["passdown", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return command


@pytest.fixture
def images(dataset_root: Path) -> Path:
    folder = dataset_root / "cells"
    folder.mkdir()
    Image.new("RGB", (40, 40)).save(folder / "one.png")
    return folder


@pytest.fixture
def cells(client: PassdownClient, hand: Hand, images: Path) -> None:
    client.register_folder("cells", "data", images.name)
    hand.work_off()


def work_off_once(hand: Hand) -> None:
    while not hand.work_off():
        time.sleep(0.02)
