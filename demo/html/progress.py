"""How far a run is: the values that its panel shows."""

from __future__ import annotations

from dataclasses import dataclass, replace

FIRST = 5  # frames before which a run's speed is not told: the first ones take longer


@dataclass(frozen=True)
class Progress:
    """done: frames finished; total: frames to do, where known, each counted once; seconds: since the first was begun.
    agrees: new masks have come to agree with those from before a correction, so that the rest could be kept.

    model: the checkpoint that works; note: why it is another than the chosen one, or "".
    memory_bytes: what the memories hold; estimate: seconds that were expected; 0 where that is not known.
    ahead: runs of others that have to end before this one begins; wait_seconds: until then, None where not known.
    """

    done: int = 0
    total: int | None = None
    seconds: float = 0.0
    model: str = ""
    note: str = ""
    memory_bytes: int = 0
    estimate: float = 0.0
    ahead: int = 0
    wait_seconds: float | None = None
    agrees: bool = False

    @property
    def frames_per_second(self) -> float:
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        if not self.total or self.done < min(FIRST, self.total):
            return None
        return max(0, self.total - self.done) * self.seconds / self.done

    def behind(self, before: Progress) -> Progress:
        """Of both parts of a run together, where this one came behind `before`."""
        total = None if self.total is None else before.done + self.total
        return replace(self, done=before.done + self.done, total=total, seconds=before.seconds + self.seconds)

    def back(self, left: int | None) -> Progress:
        """As the run was when so many frames were left of it; as it is where that is not known."""
        if left is None or self.total is None:
            return self
        return replace(self, done=max(0, self.total - left))
