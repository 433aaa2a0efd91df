"""Which representation a request wants: the `format` parameter, else the Accept header, else JSON."""

from collections.abc import Sequence
from typing import Literal

from fastapi import Request

Format = Literal["json", "md", "csv"]

MEDIA_TYPES: dict[Format, str] = {"json": "application/json", "md": "text/markdown", "csv": "text/csv"}


def chosen_format(request: Request, asked: Format | None, offered: Sequence[Format]) -> Format:
    """One of `offered`; of those that the Accept header likes best the first in it, JSON where it likes none."""
    if asked is not None:
        return asked
    by_type: dict[str, Format] = {MEDIA_TYPES[name]: name for name in offered}
    liked = [(by_type[kind], weight) for kind, weight in _accepted(request) if kind in by_type and weight > 0]
    return max(liked, key=lambda pair: pair[1])[0] if liked else "json"


def _accepted(request: Request) -> list[tuple[str, float]]:
    """Media types with their weights, as sent."""
    ranges = ",".join(request.headers.getlist("accept")).split(",")
    return [(kind.strip().lower(), _weight(parameters)) for kind, _, parameters in (r.partition(";") for r in ranges)]


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
