"""A message is a line of the log."""

import logging
import sys

from demo.log import FORMAT, OneLine


def test_a_name_makes_no_line_of_its_own():
    """A file may be called anything, and the log must not seem to say it."""
    name = "a\r\nERROR xmem: all is lost\x1b[31m\u2028.mp4"
    record = logging.LogRecord("xmem", logging.WARNING, "f.py", 1, "%s is damaged.", (name,), None)
    line = OneLine(FORMAT).format(record)
    assert line.splitlines() == [line] and "\x1b" not in line and r"a\r\nERROR" in line


def test_tracebacks_and_letters_stay_as_they_are():
    try:
        raise ValueError("x")
    except ValueError:
        record = logging.LogRecord("xmem", logging.ERROR, "f.py", 1, "Häschen 兔", (), sys.exc_info())
    lines = OneLine(FORMAT).format(record).splitlines()
    assert lines[0] == "ERROR xmem: Häschen 兔" and lines[-1] == "ValueError: x"
