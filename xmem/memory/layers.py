"""What the layers of AOT's transformer remember of up to ten objects: whole frames of keys and values, in two memories.

The long-term one is read all over and grows with the video; of the short-term one each position reads what lies near.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xmem.memory.frames import KeptFrames
from xmem.memory.store import RowBuffer

LayerRows = Sequence[tuple[Tensor, Tensor]]  # of each layer: key and value of a frame, [HW, C]


class LayerRead(NamedTuple):
    """What a layer reads: keys and values of all memory frames [N, C], and of the short-term one [HW, C]."""

    long_key: Tensor
    long_value: Tensor
    short_key: Tensor
    short_value: Tensor


class LayeredMemory:
    """Keys and values of every layer, of the frames of one video; all frames have the same number HW of positions.

    delay: a frame reads as short-term memory the frame so many before it, or a later one whose mask was given.
    max_frames: that long-term memory holds besides permanent ones, at least 2, None = all that come; see `KeptFrames`.
    """

    def __init__(self, delay: int = 1, max_frames: int | None = None):
        self._long: list[tuple[RowBuffer, RowBuffer]] = []
        self._short: deque[LayerRows] = deque(maxlen=delay)
        self._frames = KeptFrames(max_frames)  # without the permanent ones
        self.permanent_size = 0

    def __len__(self) -> int:
        """Elements of long-term memory and permanent ones: one = one position of one frame."""
        return len(self._long[0][0]) if self._long else 0

    @property
    def short_term_size(self) -> int:
        """Elements of the frames that may yet be read as short-term memory."""
        return sum(len(layers[0][0]) for layers in self._short)

    @property
    def bytes(self) -> int:
        """Of all that is held."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.save()[0].values())

    def read(self) -> list[LayerRead]:
        """What each layer of the next frame reads: views, valid until the next `append`."""
        long = [(key.rows, value.rows) for key, value in self._long]
        return [LayerRead(*rows, *short) for rows, short in zip(long, self._short[0], strict=True)]

    def reserve(self, layers: LayerRows) -> None:
        """Make room for a frame in long-term memory: all that can fail of `append`. What is held stays as it is."""
        if not self._long:
            self._long = [(RowBuffer(key, len(key)), RowBuffer(value, len(value))) for key, value in layers]
        for buffers, rows in zip(self._long, layers, strict=True):
            for buffer, new in zip(buffers, rows, strict=True):
                buffer.make_room(len(new))

    def append(self, layers: LayerRows, given: bool, long_term: bool, permanent: bool = False) -> None:
        """Remember the frame after the last. given: its mask was, so that short-term memory begins anew with it.
        long_term: there, too, where `reserve` has made room. permanent: outside all limits, before all that are not."""
        if given:
            self._short.clear()
        self._short.append(layers)
        if not long_term:
            return
        for buffers, rows in zip(self._long, layers, strict=True):
            for buffer, new in zip(buffers, rows, strict=True):
                buffer.append(new)
        positions = len(layers[0][0])
        if permanent:
            self.permanent_size += positions
            return
        dropped = self._frames.add(given, temporary=False)
        if dropped is None:
            return
        for buffer in (buffer for buffers in self._long for buffer in buffers):
            buffer.replace(self.permanent_size, 0, buffer.rows[:0], dropped * positions, positions)

    def fill(self, elements: int) -> None:
        """Add permanent elements, which hold nothing, to a long-term memory that has none but permanent ones."""
        for buffer in (buffer for buffers in self._long for buffer in buffers):
            buffer.make_room(elements)
            buffer.append(torch.zeros_like(buffer.rows[:1]).expand(elements, -1))
        self.permanent_size += elements

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that is held, as named tensors and as plain values."""
        frames: dict[str, LayerRows] = {"long": [(key.rows, value.rows) for key, value in self._long]}
        frames |= {f"short{i}": layers for i, layers in enumerate(self._short)}
        tensors = {
            f"{frame}.{i}.{name}": rows
            for frame, layers in frames.items()
            for i, layer in enumerate(layers)
            for name, rows in zip(("key", "value"), layer, strict=True)
        }
        values = {"layers": len(self._long), "short": len(self._short), "permanent_size": self.permanent_size}
        return tensors, {**values, "frames": self._frames.save()}

    def load(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """The reverse of `save`, in a new memory."""

        def layers(frame: str) -> LayerRows:
            return [(tensors[f"{frame}.{i}.key"], tensors[f"{frame}.{i}.value"]) for i in range(values["layers"])]

        held = layers("long")
        self.reserve(held)
        for buffers, rows in zip(self._long, held, strict=True):
            for buffer, new in zip(buffers, rows, strict=True):
                buffer.append(new)
        self._short.extend(layers(f"short{i}") for i in range(values["short"]))
        self.permanent_size = values["permanent_size"]
        self._frames.load(values["frames"])
