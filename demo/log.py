"""The server's log: a line per message, whatever names strangers give their files; or an object of JSON per line."""

import json
import logging
import re
import traceback
from pathlib import Path

from xmem.private import message_without

FORMAT = "%(levelname)s %(name)s: %(message)s"


class OneLine(logging.Formatter):
    """Writes control characters of a message as \\x1b and the like; tracebacks keep their lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return re.sub(
            r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], super().formatMessage(record)
        )


class JsonLines(logging.Formatter):
    """An object per message, without what is private in it. Of an error its kind and places in the code, and not its
    text, which may hold names of files or what is in them."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message_without(record),
        }
        if record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            frames = traceback.extract_tb(error.__traceback__)
            told["error"] = type(error).__name__
            told["at"] = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        return json.dumps(told)


FORMATTERS = {"text": OneLine(FORMAT), "json": JsonLines()}


def begin(form: str = "text") -> None:
    """Log to the standard error stream, also what the command line has a form of its own for. form: a key of
    FORMATTERS."""
    command = logging.getLogger("xmem")
    command.handlers, command.propagate = [], True
    handler = logging.StreamHandler()
    handler.setFormatter(FORMATTERS[form])
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)
