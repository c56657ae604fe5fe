"""What may hold a visitor's words or names of files is marked in messages for the log, which some are to go without."""

from __future__ import annotations

import logging


class Private(str):
    """A text for whoever may read all. told: in its place for everybody else."""

    told: str

    def __new__(cls, text: object, told: str = "…") -> Private:
        made = super().__new__(cls, text)
        made.told = told
        return made


def message_without(record: logging.LogRecord) -> str:
    """A record's message with nothing private in it."""
    if not isinstance(record.args, tuple):
        return record.getMessage()
    told = tuple(value.told if isinstance(value, Private) else value for value in record.args)
    return str(record.msg) % told if told else str(record.msg)
