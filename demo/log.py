"""The server's log: a line per message, whatever names strangers give their files."""

import logging
import re

FORMAT = "%(levelname)s %(name)s: %(message)s"


class OneLine(logging.Formatter):
    """Writes control characters of a message as \\x1b and the like; tracebacks keep their lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return re.sub(
            r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], super().formatMessage(record)
        )


def begin() -> None:
    """Log to the standard error stream."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)
