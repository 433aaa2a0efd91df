"""The leaderboard and comparisons as Markdown tables; links lead to the service at `base_url`."""

from collections.abc import Iterable, Sequence

from app.leaderboard.paper import CAUTION
from app.leaderboard.schemas import Comparison, Leaderboard, MeasuredCell, MeasuredRow, QuotedCellOut, QuotedRowOut


def leaderboard_markdown(board: Leaderboard, base_url: str) -> str:
    """Quoted rows, then ours; doubts and protocols as numbered notes below."""
    notes = _Notes()
    headings = [_text(board.headings[column]) for column in board.columns]
    rows = [_quoted(row, board.columns, notes) for row in board.quoted]
    rows += [_measured(row, board.columns, notes, base_url) for row in board.measured]
    return "\n".join(
        [
            f"# Table {board.table}. {board.title}",
            "",
            f"In percent. Quoted rows are the paper's, as printed. {board.setting}",
            "",
            *_table(["Method", "Ref", *headings, "Source"], rows),
            "",
            *([interval_words(board), ""] if board.measured else []),
            CAUTION if board.measured else "This service has no finished evaluation for this table yet.",
            "",
            *notes.lines(),
        ]
    )


def comparison_markdown(found: Comparison, base_url: str) -> str:
    named = zip(("First", "Second"), (found.first, found.second), found.methods, strict=True)
    first, second = (f"[{role}]({base_url}evaluations/{key}) ({_text(method)})" for role, key, method in named)
    header = ["Column", "First", "Second", "Difference", "Interval", "Wins", "Losses", "Ties", "p", "Test"]
    rows = [
        [
            column, percent(one.first), percent(one.second), f"{100 * one.difference:+.1f}",
            f"{100 * one.low:+.1f} to {100 * one.high:+.1f}", str(one.wins), str(one.losses), str(one.ties),
            f"{one.p:.2g}", one.test,
        ]
        for column, one in found.columns.items()
    ]  # fmt: skip
    differing = [f"- `{name}`: {one} and {other}" for name, (one, other) in found.different_settings.items()]
    return "\n".join(
        [
            f"# {first} and {second}: {found.protocol}, {found.images} images",
            "",
            *_table(header, rows),
            "",
            f"In percent, the mean over the images. An image's score: {found.score}.",
            f"Difference: first minus second, {100 * found.confidence:g} % interval of Bonett and Price.",
            "p: two-sided, not corrected for the number of columns.",
            *(["", "The two were judged with different settings:", "", *differing] if differing else []),
            "",
        ]
    )


def interval_words(board: Leaderboard) -> str:
    """What the intervals of the measured cells are."""
    cells = (cell for row in board.measured for cell in row.cells.values())
    kinds = dict.fromkeys(f"{cell.interval} at {100 * cell.confidence:g} %" for cell in cells)
    return f"Intervals: {', '.join(kinds)}. They say what other images would find, not what other trainings would."


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


class _Notes:
    """Footnotes, numbered as they come; equal ones share a number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, texts: Iterable[str]) -> str:
        numbers = [self._numbers.setdefault(text, len(self._numbers) + 1) for text in texts]
        return "".join(f"[^{number}]" for number in numbers)

    def lines(self) -> list[str]:
        return [f"[^{number}]: {_text(text)}" for text, number in self._numbers.items()] + (
            [""] if self._numbers else []
        )


def _quoted(row: QuotedRowOut, columns: Sequence[str], notes: _Notes) -> list[str]:
    cells = [_quoted_cell(row.cells[column], notes) if column in row.cells else "" for column in columns]
    return [_text(row.method), row.ref, *cells, "quoted"]


def _quoted_cell(cell: QuotedCellOut, notes: _Notes) -> str:
    text = f"**{cell.text}**" if cell.bold else cell.text
    return text + notes.mark([cell.doubt] if cell.doubt else [])


def _measured(row: MeasuredRow, columns: Sequence[str], notes: _Notes, base_url: str) -> list[str]:
    name = f" ({row.name})" if row.name else ""
    method = f"[{_text(row.method + name)}]({base_url}checkpoints/{row.checkpoint}){notes.mark(row.differences)}"
    cells = [_measured_cell(row.cells.get(column), base_url) for column in columns]
    return [method, "", *cells, f"measured on {_text(row.dataset or '')}"]


def _measured_cell(cell: MeasuredCell | None, base_url: str) -> str:
    if cell is None:
        return ""
    counts = [f"{cell.seeds} seeds"] if cell.seeds > 1 else ["1 seed"]
    counts += [f"newest of {cell.evaluations}"] if cell.evaluations > 1 else []
    number = f"[{percent(cell.value)}]({base_url}evaluations/{cell.evaluation})"
    return f"{number} ({percent(cell.low)} to {percent(cell.high)}; {', '.join(counts)})"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _text(text: str) -> str:
    """With nothing in it that Markdown takes for more than text."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|" else letter for letter in text)
