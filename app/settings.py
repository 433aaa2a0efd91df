"""Everything that is set from outside, read once from the environment (`PASSDOWN_*`)."""

from functools import lru_cache
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PASSDOWN_", frozen=True, extra="ignore")

    database_url: SecretStr = Field(description="postgresql+psycopg://user:password@host:port/name")
    broker_url: SecretStr = Field(description="redis://:password@host:port/0")
    storage_root: Path = Field(description="artifacts, uploads and work files; shared by all hosts")
    dataset_roots: dict[str, Path] = Field(
        default={}, description='JSON: name -> folder that datasets may be registered from, e.g. {"data": "/data"}'
    )

    heartbeat_seconds: float = 10
    lease_seconds: float = 60
    cancel_grace_seconds: float = Field(60, description="from asking a child to stop until it is killed")
    stall_seconds: float = Field(1800, description="without progress until an attempt is given up")
    offline_seconds: float = Field(900, description="a supervisor goes on without Postgres for this long")
    sweep_seconds: float = Field(15, description="pause between the scheduler's sweeps for lost attempts")
    ring_again_seconds: float = Field(30, description="a stage queued longer than this is rung again")
    poll_seconds: float = Field(0.5, description="pause between the scheduler's looks into the outbox")

    max_upload_bytes: int = 64 << 30
    max_body_bytes: int = Field(1 << 20, description="of a JSON request")


@lru_cache
def get_settings() -> Settings:
    return Settings()
