"""The leaderboard as a page: HTML made here, no script, one stylesheet in it."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.leaderboard.markdown import interval_words, percent
from app.leaderboard.paper import CAUTION, TITLES
from app.leaderboard.schemas import Leaderboard

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a browser may load for it: nothing."""


def leaderboard_page(board: Leaderboard) -> str:
    loader = FileSystemLoader(Path(__file__).parent)
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages.filters["percent"] = percent
    return pages.get_template("page.html").render(
        board=board, titles=TITLES, caution=CAUTION, intervals=interval_words(board)
    )
