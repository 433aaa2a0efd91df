"""docs/adding-a-pretext-task.md shows code that is really there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "adding-a-pretext-task.md"
PASSAGE = re.compile(r"^`(?P<file>[\w/]+\.py)`:\n\n```python\n(?P<code>.*?)```$", re.MULTILINE | re.DOTALL)
PASSAGES = PASSAGE.findall(PAGE.read_text())


def test_the_page_is_worked_through_on_code() -> None:
    assert len(PASSAGES) == PAGE.read_text().count("```python") >= 7


@pytest.mark.parametrize(("file", "code"), PASSAGES)
def test_each_passage_is_in_its_file(file: str, code: str) -> None:
    assert code in (ROOT / file).read_text()


def test_the_files_it_names_are_there() -> None:
    named = re.findall(r"`((?:worker|tests)/[\w/]+\.py)`", PAGE.read_text())
    assert [name for name in named if not (ROOT / name).is_file()] == []
