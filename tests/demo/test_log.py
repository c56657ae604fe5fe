"""A message is a line of the log."""

import json
import logging
import subprocess
import sys

from demo.log import FORMAT, JsonLines, OneLine
from xmem.private import Private


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


def test_names_of_files_are_in_no_json():
    message = "%s is damaged or cut (%s); using what can be decoded."
    record = logging.LogRecord("xmem", logging.WARNING, "f.py", 1, message, (Private("secret.mp4"), "no end"), None)
    told = json.loads(JsonLines().format(record))
    assert told["message"] == "… is damaged or cut (no end); using what can be decoded."
    assert "secret.mp4 is damaged" in OneLine(FORMAT).format(record)


def test_the_command_line_logs_in_the_form_that_is_asked_for():
    """Its own handlers, for its other commands, make way."""
    script = "import logging; from xmem.cli.main import _log_to_stderr; from demo import log; _log_to_stderr()\n"
    script += "log.begin('json'); logging.getLogger('xmem.demo').warning('It is said.')"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert json.loads(found.stderr)["message"] == "It is said."
