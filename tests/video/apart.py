"""What tests of files that another process reads have in common."""

import sys
from collections.abc import Callable
from typing import TypeVar

import pytest

from xmem.video import isolated

T = TypeVar("T")
# The marks of a module: this process has files read by another, as the page has.
APART = [
    pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot take rights from a process"),
    pytest.mark.usefixtures("read_apart"),
]


def in_this_process(work: Callable[[], T]) -> T:
    """What some work gives while this process reads files itself."""
    isolated._MODE.is_on = False
    try:
        return work()
    finally:
        isolated._MODE.is_on = True
