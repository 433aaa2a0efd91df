"""Curves, thinned out in the database."""

import math
import uuid
from itertools import groupby

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.journal.schemas import Series

# Of a step that several attempts wrote the newest counts. Of each bucket its lowest and its highest point stay, so
# that a spike is never lost between two points.
_THINNED = text("""
WITH newest AS (
    SELECT DISTINCT ON (stage.position, stage.name, metric.name, metric.step)
        stage.position, stage.name AS stage, metric.name, metric.step, metric.value
    FROM metric JOIN stage ON stage.id = metric.stage_id
    WHERE stage.run_id = :run_id
        AND (CAST(:stage AS text) IS NULL OR stage.name = :stage)
        AND (CAST(:name AS text) IS NULL OR metric.name = :name)
    ORDER BY stage.position, stage.name, metric.name, metric.step, metric.attempt_no DESC
), numbered AS (
    SELECT *,
        count(*) OVER series AS total,
        row_number() OVER (series ORDER BY step) - 1 AS number
    FROM newest WINDOW series AS (PARTITION BY stage, name)
), bucketed AS (
    SELECT *, number * (:points / 2) / total AS bucket FROM numbered
), ranked AS (
    SELECT *,
        row_number() OVER (PARTITION BY stage, name, bucket ORDER BY value, step) AS low,
        row_number() OVER (PARTITION BY stage, name, bucket ORDER BY value DESC, step) AS high
    FROM bucketed
)
SELECT stage, name, step, value, total FROM ranked
WHERE total <= :points OR low = 1 OR high = 1
ORDER BY position, stage, name, step
""")


def read_metrics(session: Session, run_id: uuid.UUID, stage: str | None, name: str | None, points: int) -> list[Series]:
    """The run's curves, of one stage and one name where given, each of at most `points` (>= 2) points."""
    rows = session.execute(_THINNED, {"run_id": run_id, "stage": stage, "name": name, "points": points})
    series: list[Series] = []
    for (of_stage, of_name), group in groupby(rows, key=lambda row: (row.stage, row.name)):
        kept = list(group)
        values = [(row.step, row.value if math.isfinite(row.value) else None) for row in kept]
        series.append(Series(stage=of_stage, name=of_name, points=values, total=kept[0].total))
    return series
