"""What endpoints ask for."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session, sessionmaker

from app.settings import Settings
from app.storage import Storage


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _storage(request: Request) -> Storage:
    return Storage(_settings(request).storage_root)


def _sessions(request: Request) -> sessionmaker[Session]:
    sessions: sessionmaker[Session] = request.app.state.sessions
    return sessions


def _session(request: Request) -> Iterator[Session]:
    with _sessions(request).begin() as session:
        yield session


CurrentSettings = Annotated[Settings, Depends(_settings)]
CurrentStorage = Annotated[Storage, Depends(_storage)]
Sessions = Annotated[sessionmaker[Session], Depends(_sessions)]
"""For answers that outlive their endpoint (streams): open a short session for each look."""
Db = Annotated[Session, Depends(_session, scope="function")]
"""A transaction around the endpoint. `function`: committed before the answer is sent, so a 202 is never a lie."""
