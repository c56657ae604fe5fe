"""Memory in which every object has keys of its own, and all elements are read (STM; Oh et al., 2019, section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from xmem.memory.attention import SMALLEST_CHUNK_ELEMENTS, chunk_elements, query_chunks, row_type
from xmem.memory.frames import KeptFrames
from xmem.memory.memory import MemoryUse
from xmem.memory.store import RowBuffer
from xmem.pieces import WHOLE, Pieces

FRAMES_AHEAD = 8  # that room is made for at first


class KeyedMemory:
    """What STM remembers between the frames of one video; its objects are those of the first frame remembered.

    Reading changes nothing. A method that runs out of memory has changed nothing.
    max_frames: frames that are kept, None = all; see `KeptFrames`.
    """

    def __init__(self, max_frames: int | None = None):
        self._objects = 0
        self._keys: RowBuffer | None = None  # rows [N, O C_k] of permanent frames, then of the others in order of time
        self._values: RowBuffer | None = None  # rows [N, O C_v]
        self._permanent = 0  # elements
        self._frame_elements = 0  # HW, elements per frame
        self._frames = KeptFrames(max_frames)  # without the permanent ones
        self._buffer: Tensor | None = None  # of a chunk's weights

    def __len__(self) -> int:
        """Elements per object."""
        return 0 if self._keys is None else len(self._keys)

    def use(self) -> MemoryUse:
        """How much is held now; elements are counted once for all objects."""
        buffers = [buffer.rows for buffer in (self._keys, self._values) if buffer is not None]
        held = sum(rows.numel() * rows.element_size() for rows in buffers)
        return MemoryUse(self._permanent, len(self) - self._permanent, 0, held)

    def halved(self, similarities: int | None, device: torch.device) -> int | None:
        """Half of the similarities that reads hold at once (None: what suits the device); None where those are few."""
        now = min(similarities or chunk_elements(device), self._frame_elements * len(self))
        if now <= SMALLEST_CHUNK_ELEMENTS:
            return None
        self._buffer = None
        return now // 2

    def append(
        self, keys: Tensor, values: Tensor, permanent: bool = False, temporary: bool = False, given: bool = False
    ) -> None:
        """Remember a frame: keys [1, O, C_k, h, w], values [1, O, C_v, h, w], always of the same objects.

        permanent: outside all limits; only before the first frame that is not. temporary: until the next frame is
        remembered. given: a mask was given for the frame, see `KeptFrames`.
        """
        frame_elements = keys.shape[-2] * keys.shape[-1]
        new = [x[0].flatten(2).flatten(0, 1).T for x in (keys, values)]  # each [HW, O C]
        new[0] = new[0].to(row_type(keys))
        room, held = FRAMES_AHEAD * frame_elements, (self._keys, self._values)
        buffers = [RowBuffer(x, room) if old is None else old for old, x in zip(held, new, strict=True)]
        for buffer in buffers:  # all that takes memory comes first
            buffer.make_room(frame_elements)
        for buffer, rows in zip(buffers, new, strict=True):
            if self._frames.has_temporary:
                buffer.drop_last(frame_elements)
            buffer.append(rows)
        self._keys, self._values = buffers
        self._objects, self._frame_elements = keys.shape[1], frame_elements
        if permanent:
            self._permanent += frame_elements
        else:
            dropped = self._frames.add(given, temporary)
            if dropped is None:
                return
            for buffer in buffers:
                buffer.replace(self._permanent, 0, buffer.rows[:0], dropped * frame_elements, frame_elements)

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that is held, as named tensors and as plain values."""
        held = {"keys": self._keys, "values": self._values}
        named = {name: buffer.rows for name, buffer in held.items() if buffer is not None}
        counts = {"objects": self._objects, "permanent": self._permanent, "frame_elements": self._frame_elements}
        return named, {**counts, "frames": self._frames.save()}

    def load(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """The reverse of `save`, in a new memory."""
        self._objects, self._permanent = values["objects"], values["permanent"]
        self._frame_elements = values["frame_elements"]
        self._frames.load(values["frames"])
        if tensors:
            self._keys, self._values = (RowBuffer(tensors[name], len(tensors[name])) for name in ("keys", "values"))
            self._keys.append(tensors["keys"])
            self._values.append(tensors["values"])

    def read(self, key: Tensor, pieces: Pieces = WHOLE) -> Tensor:
        """key [1, C_k, h, w] of the query frame -> readout [1, O, C_v, h, w], in the values' precision.

        Softmax of k_i . q_j / sqrt(C_k) over all elements i of an object: the softmax itself in float32.
        """
        assert self._keys is not None and self._values is not None, "nothing was remembered yet"
        height, width = key.shape[-2:]
        query = (key[0].flatten(1).T.float() / math.sqrt(key.shape[1])).to(self._keys.rows.dtype)  # [HW, C_k]
        keys, values = (buffer.rows.unflatten(1, (self._objects, -1)) for buffer in (self._keys, self._values))
        out = values.new_empty((self._objects, len(query), values.shape[2]))
        at_once = pieces.distances or chunk_elements(key.device)
        for part in query_chunks(len(query), len(self), at_once):
            for o in range(self._objects):
                weights = self._weights(query[part], keys[:, o], at_once)  # [Q, N]
                torch.mm(weights.to(values.dtype), values[:, o], out=out[o, part])
        return out.view(1, self._objects, height, width, -1).permute(0, 1, 4, 2, 3)

    def _weights(self, query: Tensor, keys: Tensor, at_once: int) -> Tensor:
        """Softmax over the keys [N, C_k] of their products with each query [Q, C_k] -> [Q, N]; on a CPU in a buffer for
        `at_once` of them, where it stays until the next."""
        if not query.is_cpu:  # its allocator keeps what it has had
            return (query @ keys.T).softmax(1)
        count = len(query) * len(keys)
        if self._buffer is None or len(self._buffer) < count:
            self._buffer = query.new_empty(max(at_once, count))  # what is not written to takes no memory
        weights = self._buffer[:count].view(len(query), -1)
        torch.mm(query, keys.T, out=weights)
        return torch.softmax(weights, 1, out=weights)
