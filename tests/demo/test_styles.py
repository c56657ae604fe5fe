"""Style sheets as Gradio takes them: it puts its own prefix before what follows a comma, inside parentheses as well."""

import re
from pathlib import Path

import pytest

import demo

SHEETS = sorted(Path(demo.__file__).parent.rglob("*.css"))


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda path: path.name)
def test_has_is_asked_about_one_thing_at_a_time(sheet):
    """Behind a comma in `:has(a, b)` the prefix names the page around, which is never within: b would not count."""
    rest = sheet.read_text(encoding="utf-8")
    for found in re.finditer(r":has\(", rest):
        depth, end = 1, found.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(rest[end], 0)
            assert not (depth == 1 and rest[end] == ","), rest[found.start() : end + 20]
            end += 1
