"""Two checkpoints, image by image: what the same judge said of them on the same images."""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

from sqlalchemy.orm import Session

from app.artifacts.npy import read_float32
from app.artifacts.tables import Artifact
from app.evaluations.lookup import sheet_of
from app.leaderboard.naming import judged_methods
from app.leaderboard.schemas import ComparedColumn, Comparison
from app.problems import Problem
from app.storage import Storage
from worker.config.scores import ScoreSheet

RIGHT = re.compile(r"right_(.+)\.npy")
RIGHT_OR_WRONG = "1 where it is judged right, 0 where wrong, the mean over the seeds"


def compare(session: Session, storage: Storage, first: Artifact, second: Artifact) -> Comparison:
    """Column by column. Problem 422 `different_protocols`, `different_images`, `not_comparable`; 410 `file_gone`."""
    one, other = sheet_of(first), sheet_of(second)
    _check_protocols(one, other)
    _check_images(one, other, first, second)
    columns = [column for column in _columns(first) if column in _columns(second)]
    if not columns:
        message = f"`{one.protocol}` gives no verdict image by image in a column that both evaluations have."
        raise Problem(422, "not_comparable", message)
    compared = {
        column: compared_column(_right(storage, first, column), _right(storage, second, column), one.confidence)
        for column in columns
    }
    return Comparison(
        protocol=one.protocol,
        metric=one.metric,
        images=max(column.n for column in compared.values()),
        confidence=one.confidence,
        first=first.id,
        second=second.id,
        methods=judged_methods(session, first, second),
        score=one.facts.get("paired_score", RIGHT_OR_WRONG),
        columns=compared,
        different_settings=_different_settings(one.config, other.config),
    )


def compared_column(first: Sequence[float], second: Sequence[float], confidence: float) -> ComparedColumn:
    """Of one score an image, 0..1, `(n,)` each; 1 is right and 0 wrong."""
    apart = [a - b for a, b in zip(first, second, strict=True)]
    wins, losses = sum(d > 0 for d in apart), sum(d < 0 for d in apart)
    low, high = bonett_price(apart, confidence)
    return ComparedColumn(
        first=math.fsum(first) / len(apart),
        second=math.fsum(second) / len(apart),
        n=len(apart),
        wins=wins,
        losses=losses,
        ties=len(apart) - wins - losses,
        difference=math.fsum(apart) / len(apart),
        low=low,
        high=high,
        beyond=low > 0 or high < 0,
        p=sign_test(wins, losses),
        test=_test_of(first, second),
    )


def bonett_price(apart: Sequence[float], confidence: float) -> tuple[float, float]:
    """Interval of the mean of paired differences, each -1..1 (Bonett and Price, 2012, for paired proportions).

    Normal, after one imagined image for either side, so that few images never look like certainty. Differences of means
    over seeds fit in as they are.
    """
    n = len(apart) + 2
    centre = math.fsum(apart) / n
    variance = (math.fsum(d * d for d in apart) + 2) / n - centre * centre
    half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(variance / n)
    return max(-1.0, centre - half), min(1.0, centre + half)


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p of so unequal a split, or one more unequal, were either side as likely; ties tell nothing.

    Exact, in whole numbers: of 0/1 verdicts this is McNemar's test with the binomial distribution.
    """
    n, few = wins + losses, min(wins, losses)
    ways = total = 1
    for k in range(few):
        ways = ways * (n - k) // (k + 1)
        total += ways
    return min(1.0, 2 * total / (1 << n))


def _test_of(first: Sequence[float], second: Sequence[float]) -> Literal["exact McNemar", "exact sign test"]:
    plain = all(score in (0.0, 1.0) for scores in (first, second) for score in scores)
    return "exact McNemar" if plain else "exact sign test"


def _check_protocols(one: ScoreSheet, other: ScoreSheet) -> None:
    if (one.protocol, one.metric) != (other.protocol, other.metric):
        message = f"One is `{one.protocol}` ({one.metric}), the other `{other.protocol}` ({other.metric})."
        raise Problem(422, "different_protocols", message)


def _check_images(one: ScoreSheet, other: ScoreSheet, first: Artifact, second: Artifact) -> None:
    if one.dataset != other.dataset:
        raise Problem(422, "different_images", "The evaluations judged images of different datasets.")
    if _digest(first, "images.json") != _digest(second, "images.json"):
        raise Problem(422, "different_images", "The evaluations judged different images of the dataset.")


def _digest(evaluation: Artifact, name: str) -> str | None:
    return next((file["sha256"] for file in evaluation.files if file["name"] == name), None)


def _columns(evaluation: Artifact) -> list[str]:
    found = (RIGHT.fullmatch(file["name"]) for file in evaluation.files)
    return [match[1] for match in found if match]


def _right(storage: Storage, evaluation: Artifact, column: str) -> Sequence[float]:
    path: Path = storage.artifact(evaluation.sha256) / f"right_{column}.npy"
    try:
        return read_float32(path)
    except FileNotFoundError as error:
        raise Problem(410, "file_gone", f"The file {path.name!r} is no longer stored.") from error


def _different_settings(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[str, str]]:
    names = sorted(one.keys() | other.keys())
    return {
        name: (json.dumps(one.get(name)), json.dumps(other.get(name)))
        for name in names
        if one.get(name) != other.get(name)
    }
