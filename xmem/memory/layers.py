"""What the layers of AOT's transformer remember of up to ten objects: whole frames of keys and values, in two memories.

The long-term one is read all over and grows with the video; of the short-term one each position reads what lies near.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from torch import Tensor

from xmem.memory.frames import KeptFrames
from xmem.memory.store import RowBuffer
from xmem.networks.aot import LayerMemory

LayerRows = Sequence[tuple[Tensor, Tensor]]  # of each layer: key and value of a frame, [HW, C]


class LayeredMemory:
    """Keys and values of every layer, of the frames of one video; all frames have the same number HW of positions.

    delay: a frame reads as short-term memory the frame so many before it, or a later one whose mask was given.
    max_frames: that long-term memory holds, at least 2, None = all that come; of more, see `KeptFrames`.
    """

    def __init__(self, delay: int = 1, max_frames: int | None = None):
        self._long: list[tuple[RowBuffer, RowBuffer]] = []
        self._short: deque[LayerRows] = deque(maxlen=delay)
        self._kept = KeptFrames(max_frames)

    def __len__(self) -> int:
        """Elements of long-term memory: one = one position of one frame."""
        return len(self._long[0][0]) if self._long else 0

    @property
    def bytes(self) -> int:
        """Of all that is held."""
        rows = [buffer.rows for buffers in self._long for buffer in buffers]
        rows += [tensor for frame in self._short for layer in frame for tensor in layer]
        return sum(r.numel() * r.element_size() for r in rows)

    def read(self) -> list[LayerMemory]:
        """What each layer of the next frame reads: views, valid until the next `append`."""
        long = [(key.rows, value.rows) for key, value in self._long]
        return [LayerMemory(*rows, *short) for rows, short in zip(long, self._short[0], strict=True)]

    def reserve(self, layers: LayerRows) -> None:
        """Make room for a frame in long-term memory: all that can fail of `append`. What is held stays as it is."""
        if not self._long:
            self._long = [(RowBuffer(key, len(key)), RowBuffer(value, len(value))) for key, value in layers]
        for buffers, rows in zip(self._long, layers, strict=True):
            for buffer, new in zip(buffers, rows, strict=True):
                buffer.make_room(len(new))

    def append(self, layers: LayerRows, given: bool, long_term: bool) -> None:
        """Remember the frame after the last. given: its mask was, so that short-term memory begins anew with it.
        long_term: keep it for good, where `reserve` has made room."""
        if given:
            self._short.clear()
        self._short.append(layers)
        if not long_term:
            return
        for buffers, rows in zip(self._long, layers, strict=True):
            for buffer, new in zip(buffers, rows, strict=True):
                buffer.append(new)
        dropped = self._kept.add(given, temporary=False)
        if dropped is not None:
            positions = len(layers[0][0])
            for buffer in (buffer for buffers in self._long for buffer in buffers):
                buffer.replace(dropped * positions, positions, buffer.rows[:0], 0, 0)
