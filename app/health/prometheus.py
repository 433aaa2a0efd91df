"""Figures for Prometheus, read from the database at each scrape."""

from collections.abc import Callable, Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import ColumnElement, Float, cast, extract, func, select
from sqlalchemy.orm import Session, sessionmaker

from app.health.checks import scheduler_leads
from app.outbox.tables import Doorbell
from app.runs.tables import Run, Stage, StageState
from app.settings import Settings
from app.workers.live import live_workers


class DatabaseCollector(Collector):
    def __init__(self, sessions: sessionmaker[Session], settings: Settings) -> None:
        self._sessions = sessions
        self._settings = settings

    def collect(self) -> Iterator[Metric]:
        gauges: list[Callable[[Session], Metric]] = [_runs, _stages, _queued_age, _outbox, _scheduler, self._workers]
        with self._sessions() as session:
            for gauge in gauges:
                yield gauge(session)

    def _workers(self, session: Session) -> Metric:
        gauge = GaugeMetricFamily("passdown_workers_alive", "Workers seen lately.", labels=["device"])
        for worker in live_workers(session, self._settings):
            gauge.add_metric([worker.device], 1)
        return gauge


def _runs(session: Session) -> Metric:
    gauge = GaugeMetricFamily("passdown_runs", "Runs by state.", labels=["state"])
    for state, count in session.execute(select(Run.state, func.count()).group_by(Run.state)):
        gauge.add_metric([state], count)
    return gauge


def _stages(session: Session) -> Metric:
    gauge = GaugeMetricFamily("passdown_stages", "Live stages by name and state.", labels=["stage", "state"])
    live = Stage.state.in_([StageState.pending, StageState.queued, StageState.running])
    query = select(Stage.name, Stage.state, func.count()).where(live).group_by(Stage.name, Stage.state)
    for name, state, count in session.execute(query):
        gauge.add_metric([name, state], count)
    return gauge


def _queued_age(session: Session) -> Metric:
    oldest = session.scalar(select(_age(func.min(Stage.queued_at))).where(Stage.state == StageState.queued))
    return GaugeMetricFamily("passdown_queued_age_seconds", "Age of the longest queued stage.", value=oldest or 0)


def _outbox(session: Session) -> Metric:
    oldest = session.scalar(select(_age(func.min(Doorbell.created_at))).where(Doorbell.sent_at.is_(None)))
    return GaugeMetricFamily("passdown_outbox_lag_seconds", "Age of the oldest unsent message.", value=oldest or 0)


def _age(moment: ColumnElement[datetime | None]) -> ColumnElement[float]:
    return cast(extract("epoch", func.now() - moment), Float)


def _scheduler(session: Session) -> Metric:
    return GaugeMetricFamily(
        "passdown_scheduler_leads", "1 while a scheduler leads.", value=int(scheduler_leads(session))
    )
