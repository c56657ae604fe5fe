"""Which frames a memory without consolidation holds, and which one it drops where there are too many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class KeptFrames:
    """Memory frames in order of time; the latest may be temporary: it makes way for the next one.

    most: frames that are kept for good, at least 2, None = all. Of more, the oldest but the first that no mask was
    given for is dropped: what the user said, and what the objects look like now, are worth most.
    """

    def __init__(self, most: int | None = None):
        self.most = most
        self.has_temporary = False
        self._given: list[bool] = []  # of each frame kept for good: whether a mask was given for it

    def add(self, given: bool, temporary: bool) -> int | None:
        """A frame that has just been remembered -> the number of the one to drop, if any, counted from the oldest."""
        self.has_temporary = temporary
        if temporary or self.most is None:
            return None
        self._given.append(given)
        if len(self._given) <= self.most:
            return None
        dropped = next((i for i, is_given in enumerate(self._given) if i and not is_given), 1)
        del self._given[dropped]
        return dropped

    def save(self) -> dict[str, Any]:
        """What is known of the frames, as plain values."""
        return {"has_temporary": self.has_temporary, "given": self._given}

    def load(self, values: Mapping[str, Any]) -> None:
        """The reverse of `save`."""
        self.has_temporary, self._given = values["has_temporary"], list(values["given"])
