"""Memory in which every object has keys of its own, and all elements are read (STM; Oh et al., 2019, section 3.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from xmem.memory.attention import SMALLEST_CHUNK_ELEMENTS, chunk_elements, query_chunks, row_type
from xmem.memory.frames import KeptFrames
from xmem.memory.memory import MemoryUse
from xmem.memory.store import RowBuffer

FRAMES_AHEAD = 8  # that room is made for at first


class KeyedMemory:
    """What STM remembers between the frames of one video; its objects are those of the first frame remembered.

    Reading changes nothing. A method that runs out of memory has changed nothing.
    max_frames: frames that are kept, None = all; see `KeptFrames`.
    chunk_elements: similarities that a read holds at once, None = what suits the device.
    """

    def __init__(self, max_frames: int | None = None):
        self.chunk_elements: int | None = None
        self._objects = 0
        self._keys: RowBuffer | None = None  # rows [N, O C_k] of permanent frames, then of the others in order of time
        self._values: RowBuffer | None = None  # rows [N, O C_v]
        self._permanent = 0  # elements
        self._frame_elements = 0  # HW, elements per frame
        self._frames = KeptFrames(max_frames)  # without the permanent ones

    def __len__(self) -> int:
        """Elements per object."""
        return 0 if self._keys is None else len(self._keys)

    def use(self) -> MemoryUse:
        """How much is held now; elements are counted once for all objects."""
        buffers = [buffer.rows for buffer in (self._keys, self._values) if buffer is not None]
        held = sum(rows.numel() * rows.element_size() for rows in buffers)
        return MemoryUse(self._permanent, len(self) - self._permanent, 0, held)

    def halve_chunks(self, device: torch.device) -> bool:
        """Let reads hold half of the similarities at once that they do now; False where that is little already."""
        now = min(self.chunk_elements or chunk_elements(device), self._frame_elements * len(self))
        if now <= SMALLEST_CHUNK_ELEMENTS:
            return False
        self.chunk_elements = now // 2
        return True

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
            for buffer in buffers if dropped is not None else ():
                buffer.replace(self._permanent, 0, buffer.rows[:0], dropped * frame_elements, frame_elements)

    def read(self, key: Tensor) -> Tensor:
        """key [1, C_k, h, w] of the query frame -> readout [1, O, C_v, h, w], in the values' precision.

        Softmax of k_i . q_j / sqrt(C_k) over all elements i of an object: the softmax itself in float32.
        """
        height, width = key.shape[-2:]
        query = (key[0].flatten(1).T.float() / math.sqrt(key.shape[1])).to(self._keys.rows.dtype)  # [HW, C_k]
        keys, values = (buffer.rows.unflatten(1, (self._objects, -1)) for buffer in (self._keys, self._values))
        out = values.new_empty((self._objects, len(query), values.shape[2]))
        for part in query_chunks(len(query), len(self), self.chunk_elements or chunk_elements(key.device)):
            for o in range(self._objects):
                similarity = similarities(query[part], keys[:, o])  # [Q, N]
                out[o, part] = similarity.softmax(1, torch.float32).to(values.dtype) @ values[:, o]
        return out.view(1, self._objects, height, width, -1).permute(0, 1, 4, 2, 3)


def similarities(query: Tensor, keys: Tensor) -> Tensor:
    """Dot products of rows: [Q, C_k], [N, C_k] -> [Q, N]."""
    return query @ keys.T
