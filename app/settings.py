"""Everything that is set from outside, read once from the environment (`PASSDOWN_*`)."""

from functools import lru_cache
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class DatabaseSettings(BaseSettings):
    """All that a migration needs."""

    model_config = SettingsConfigDict(env_prefix="PASSDOWN_", frozen=True, extra="ignore")

    database_url: SecretStr = Field(description="postgresql+psycopg://user:password@host:port/name")


class Settings(DatabaseSettings):
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
    retry_seconds: float = Field(5, description="pause before a failed attempt is repeated; longer each time")
    sweep_seconds: float = Field(15, description="pause between the scheduler's sweeps for lost attempts")
    ring_again_seconds: float = Field(30, description="a stage queued longer than this is rung again")
    poll_seconds: float = Field(0.5, description="pause between the scheduler's looks into the outbox")

    allowed_hosts: list[str] = Field(
        default=["localhost", "127.0.0.1"],
        description='JSON: `Host` names the API answers to, e.g. ["gpu1.example.org"]; ["*"] for any',
    )
    max_upload_bytes: int = 64 << 30
    max_body_bytes: int = Field(1 << 20, description="of a JSON request")


@lru_cache
def get_settings() -> Settings:
    return Settings()
