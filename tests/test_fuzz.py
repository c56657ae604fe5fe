"""A few hundred changed files of every kind that strangers give; `python -m tests.fuzz` tries thousands."""

import sys

import pytest

from tests.fuzz import Fuzz
from tests.session.test_foreign import made
from xmem.video import isolated


@pytest.mark.filterwarnings("ignore")
def test_of_changed_files_comes_the_user_error_alone(tmp_path):
    """And no end of the process that reads them, nor a file outside of its folder."""
    isolated.isolate()
    try:
        (tmp_path / "work").mkdir()
        (tmp_path / "cases").mkdir()
        fuzz = Fuzz(tmp_path / "cases", made(tmp_path / "work")[1], seed=14)
        waiting = isolated._MODE.waiting
        fuzz.run(300)
        assert isolated._MODE.waiting is waiting and (waiting is None or waiting._process.poll() is None)
        assert waiting or sys.platform != "linux"
    finally:
        isolated.isolate(False)
    assert sum(fuzz.outcomes.values()) == 300
    assert sum(count for fate, count in fuzz.outcomes.items() if fate.endswith("refused")) > 80, fuzz.outcomes
    assert sum(count for fate, count in fuzz.outcomes.items() if fate.endswith("read")) > 40, fuzz.outcomes
