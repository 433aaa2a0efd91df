from collections.abc import Iterator

import pytest

from app.client.client import PassdownClient
from app.settings import Settings
from tests.app.client.listening import Listening


@pytest.fixture
def listening(settings: Settings) -> Iterator[Listening]:
    service = Listening(settings)
    yield service
    service.stop()


@pytest.fixture
def client(listening: Listening) -> Iterator[PassdownClient]:
    with PassdownClient(listening.url, patience=20) as client:
        yield client
