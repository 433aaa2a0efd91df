"""Alive, ready, and counted."""

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import func, text

from app.db.locks import SCHEDULER
from app.main import create_app
from app.settings import Settings
from app.workers.tables import Worker
from tests.app.hand import Hand
from worker.config.presets import Preset, preset_config
from worker.config.run import PipelineConfig

Json = dict[str, Any]


def test_ready_once_a_scheduler_leads_and_a_worker_lives(api: TestClient, hand: Hand) -> None:
    assert api.get("/healthz").json() == {"status": "ok"}
    answer = api.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "not_ready",
        "checks": {
            "database": "ok",
            "migrations": "ok",
            "broker": "ok",
            "scheduler": "no scheduler leads",
            "worker": "no worker was seen lately",
        },
    }
    with hand.sessions.begin() as session:
        session.add(Worker(name="w", host="h", device="cpu", seen_at=func.now()))
    with hand.engine.connect() as leader:
        leader.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": SCHEDULER})
        assert api.get("/readyz").json()["status"] == "ready"
        leader.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": SCHEDULER})
    assert api.get("/readyz").json()["checks"]["scheduler"] == "no scheduler leads"


def test_alive_but_not_ready_without_servers(settings: Settings) -> None:
    gone = {
        "database_url": SecretStr("postgresql+psycopg://u:secret@127.0.0.1:1/x"),
        "broker_url": SecretStr("redis://:secret@127.0.0.1:1/0"),
    }
    with TestClient(create_app(settings.model_copy(update=gone)), base_url="http://127.0.0.1") as api:
        assert api.get("/healthz").status_code == 200
        answer = api.get("/readyz")
    assert answer.status_code == 503
    assert all(found.startswith("not re") for found in answer.json()["checks"].values())
    assert "secret" not in answer.text


def test_an_old_schema_is_not_ready(api: TestClient, hand: Hand) -> None:
    with hand.sessions.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    assert "0000" in api.get("/readyz").json()["checks"]["migrations"]


def test_prometheus_sees_queues_and_workers(
    api: TestClient, hand: Hand, cells: Json, submit: Callable[..., Json]
) -> None:
    submit()
    with hand.sessions.begin() as session:
        session.add(Worker(name="w", host="h", device="cpu", seen_at=func.now()))
    lines = api.get("/metrics").text.splitlines()
    assert 'passdown_stages{stage="pretrain",state="queued"} 1.0' in lines
    assert 'passdown_stages{stage="extract",state="pending"} 1.0' in lines
    assert 'passdown_runs{state="succeeded"} 1.0' in lines
    assert 'passdown_workers_alive{device="cpu"} 1.0' in lines
    assert "passdown_scheduler_leads 0.0" in lines
    ages = {line.split()[0]: float(line.split()[1]) for line in lines if "_seconds " in line and line[0] != "#"}
    assert ages["passdown_queued_age_seconds"] >= 0
    assert ages["passdown_outbox_lag_seconds"] >= 0


def test_presets_are_told_whole(api: TestClient) -> None:
    told = {item["name"]: item["config"] for item in api.get("/presets").json()["items"]}
    assert {name: PipelineConfig.model_validate(config) for name, config in told.items()} == {
        preset: preset_config(preset) for preset in Preset
    }


def test_the_version_is_the_packages(api: TestClient) -> None:
    assert set(api.get("/version").json()) == {"name", "version"}
