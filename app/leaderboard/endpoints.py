from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from pydantic import BeforeValidator

from app.dependencies import Db
from app.leaderboard.csv import leaderboard_csv
from app.leaderboard.formats import MEDIA_TYPES, Format, chosen_format
from app.leaderboard.markdown import leaderboard_markdown
from app.leaderboard.page import POLICY, leaderboard_page
from app.leaderboard.rows import leaderboard
from app.leaderboard.schemas import Leaderboard
from worker.config.scores import Table

router = APIRouter(tags=["leaderboard"])

WhichTable = Annotated[
    Table,
    BeforeValidator(lambda text: int(text) if str(text).isdecimal() else text),
    Query(description="3: VOC; 4: linear; 5: linear, another dataset; 6: nonlinear"),
]
TEXT = {"schema": {"type": "string"}}
VARY = {"Vary": "Accept"}


@router.get(
    "/leaderboard",
    response_model=Leaderboard,
    responses={200: {"content": {MEDIA_TYPES["md"]: TEXT, MEDIA_TYPES["csv"]: TEXT}}},
)
def read_leaderboard(
    request: Request,
    session: Db,
    table: WhichTable,
    format: Annotated[Format | None, Query(description="default: by the Accept header, else json")] = None,
) -> Response | Leaderboard:
    """The paper's rows as printed, and beside them one row for each checkpoint that was judged. Every number of ours
    links to its evaluation; every row says how it differs from the paper's protocol."""
    board = leaderboard(session, table)
    base_url = str(request.base_url)
    match chosen_format(request, format, ("json", "md", "csv")):
        case "md":
            return PlainTextResponse(leaderboard_markdown(board, base_url), headers=VARY, media_type=MEDIA_TYPES["md"])
        case "csv":
            return PlainTextResponse(leaderboard_csv(board, base_url), headers=VARY, media_type=MEDIA_TYPES["csv"])
        case _:
            return board


@router.get("/ui/leaderboard", response_class=HTMLResponse)
def show_leaderboard(session: Db, table: WhichTable = 3) -> HTMLResponse:
    """The same as a page."""
    return HTMLResponse(leaderboard_page(leaderboard(session, table)), headers={"Content-Security-Policy": POLICY})
