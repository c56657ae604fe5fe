"""Time stamps as a muxer needs them: one per frame, strictly increasing."""

from fractions import Fraction


class Timeline:
    """Repairs a sequence of time stamps, in units of `time_base` seconds, without dropping any.

    Missing stamps follow their predecessor by the nominal duration; repeated or slightly late ones by half of it, so
    that the true stamps that come next are not pushed on; a clock that starts again (joined recordings) is carried on.
    """

    def __init__(self, time_base: Fraction, nominal: Fraction) -> None:
        self._nominal = max(1, round(nominal / time_base))  # ticks per frame
        self._restart = round(1 / time_base)  # ticks: falling back by more than a second is a new clock
        self._shift = 0
        self._last: int | None = None

    def place(self, stamp: int | None) -> int:
        """The stamp to use, in ticks, greater than any before."""
        if self._last is None:
            placed = stamp or 0
        elif stamp is None:
            placed = self._last + self._nominal
        else:
            placed = stamp + self._shift
            if placed < self._last - self._restart:
                self._shift += self._last + self._nominal - placed
                placed = self._last + self._nominal
            elif placed <= self._last:
                placed = self._last + max(1, self._nominal // 2)
        self._last = placed
        return placed
