"""The three memories of XMem (section 3): sensory, working and long-term, behind read, append and update.

A fourth one, permanent, holds key frames for good (as in XMem++, Bekuzarov et al., ICCV 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from xmem.memory.attention import (
    SMALLEST_CHUNK_ELEMENTS,
    chunk_elements,
    distance,
    prepare_query,
    query_chunks,
    read_values,
    row_type,
    top_k_softmax,
)
from xmem.memory.frames import KeptFrames
from xmem.memory.store import ElementStore, ObjectGroup
from xmem.pieces import WHOLE, Pieces

SHARED_CHUNKS = 4  # of a frame's queries, where two threads share them
MOST_AHEAD = 2**15  # long-term elements that room is made for before they come


@dataclass(frozen=True)
class MemoryUse:
    """Elements in each memory (one = one stride-16 position of one memory frame), and the bytes that they and the
    sensory memory take."""

    permanent: int
    working: int
    long_term: int
    bytes: int


class Limits(Protocol):
    """Of the settings of a family, those that its memory goes by; see `MemoryConfig`."""

    @property
    def top_k(self) -> int: ...
    @property
    def long_term(self) -> bool: ...
    @property
    def min_working_frames(self) -> int: ...
    @property
    def max_working_frames(self) -> int: ...
    @property
    def prototypes(self) -> int: ...
    @property
    def max_long_term(self) -> int: ...


class Memory:
    """What is remembered between the frames of one video.

    Objects are channels in order of arrival; those that arrive on the same frame form a group. Permanent, working and
    long-term elements live in one store (one element = one stride-16 position of one memory frame).
    Reading changes nothing: what was read is told with `count`. A method that runs out of memory has changed nothing.
    max_frames: frames that working memory keeps where nothing is consolidated, None = all; see `KeptFrames`.
    """

    def __init__(self, config: Limits, max_frames: int | None = None):
        self.config: Limits = config
        self.sensory: Tensor | None = None  # [1, O, C_h, h, w], in the network's precision, as all that it is made of
        self._store: ElementStore | None = None
        self._frame_elements = 0  # HW, elements per frame
        self._frames = KeptFrames(max_frames)  # of working memory, where nothing is consolidated
        self._distances: dict[int, Tensor] = {}  # buffers, each for one chunk at a time

    @property
    def _held(self) -> ElementStore:
        """The store, once there is one."""
        assert self._store is not None, "nothing was remembered yet"
        return self._store

    @property
    def working_size(self) -> int:
        """Elements in working memory."""
        return self._store.working_size if self._store else 0

    @property
    def long_term_size(self) -> int:
        """Elements in long-term memory."""
        return self._store.long_term_size if self._store else 0

    @property
    def permanent_size(self) -> int:
        """Elements in permanent memory."""
        return self._store.permanent_size if self._store else 0

    def use(self) -> MemoryUse:
        """How much is held now."""
        sensory = 0 if self.sensory is None else self.sensory.numel() * self.sensory.element_size()
        elements = self._store.bytes if self._store else 0
        return MemoryUse(self.permanent_size, self.working_size, self.long_term_size, elements + sensory)

    def halved(self, distances: int | None, device: torch.device) -> int | None:
        """Half of the distances that reads hold at once (None: what suits the device); None where those are few."""
        elements = len(self._store) if self._store else 0
        now = min(distances or chunk_elements(device), self._frame_elements * elements)
        if now <= SMALLEST_CHUNK_ELEMENTS:
            return None
        self._distances.clear()
        return now // 2

    def read(self, key: Tensor, selection: Tensor | None, pieces: Pieces = WHOLE) -> tuple[Tensor, Tensor | None]:
        """key, selection [1, C_k, h, w] of the query frame (None in a network without selection)
        -> readout [1, O, C_v, h, w], in the values' precision, and each element's affinity summed over the queries,
        float32 [N], for `count` (None without long-term memory).

        Each group's softmax runs over the elements for which it has values, in all memories together.
        """
        store = self._held
        height, width = key.shape[-2:]
        query = prepare_query(
            _elements(key), None if selection is None else _elements(selection), store.prepared_type
        )  # [HW, 2 C_k + 1]
        out = [group.values.rows.new_empty((len(query), group.values.rows.shape[1])) for group in store.groups]
        at_once = most = pieces.distances or chunk_elements(query.device)
        if pieces.sharing:
            at_once = min(at_once // 2, max(len(query) // SHARED_CHUNKS, 1) * len(store))
        chunks = query_chunks(len(query), len(store), at_once)

        def read_chunk(i: int, thread: int) -> Tensor | None:
            return self._read_chunk(query[chunks[i]], [rows[chunks[i]] for rows in out], thread, most)

        uses = [use for use in pieces.make(read_chunk, len(chunks)) if use is not None]  # of each chunk, or none
        pairs = zip(out, store.groups, strict=True)
        # [HW, O_g C_v] -> [O_g, C_v, h, w], a view: rows of one object are channels-last as they lie
        groups = [rows.view(height, width, group.objects, -1).permute(2, 3, 0, 1) for rows, group in pairs]
        return torch.cat(groups)[None], sum(uses[1:], uses[0]) if uses else None

    def _read_chunk(self, query: Tensor, out: list[Tensor], buffer: int, at_once: int) -> Tensor | None:
        """`read` for some queries [Q, 2 C_k + 1], into each group's rows [Q, O_g C_v]; their use of the elements, [N].
        buffer: which one is for the distances, `at_once` of them: calls made at a time need one each."""
        store, config = self._held, self.config
        distances = self._distance(query, store.prepared_rows(), buffer, at_once)[:, : len(store)]  # [Q, N]
        use = None
        for group, rows in zip(store.groups, out, strict=True):
            store.exclude(group, distances)
            weights, index = top_k_softmax(distances, config.top_k)
            rows[:] = read_values(group.values.rows, weights, store.value_rows(group, index))
            if use is None and config.long_term:
                use = torch.zeros(len(store), device=query.device).index_add_(0, index.flatten(), weights.flatten())
        return use

    def _distance(self, query: Tensor, rows: Tensor, buffer: int, at_once: int) -> Tensor:
        """Of queries to prepared rows, [Q, N]; on a CPU in that buffer, where it stays until the next."""
        if not query.is_cpu:  # its allocator keeps what it has had
            return distance(query, rows)
        count = len(query) * len(rows)
        if buffer not in self._distances or len(self._distances[buffer]) < count:
            self._distances[buffer] = query.new_empty(max(at_once, count))  # what is not written to takes no memory
        return distance(query, rows, self._distances[buffer][:count].view(len(query), -1))

    def count(self, use: Tensor | None) -> None:
        """Tell what a read told: who was read, and that all could have been."""
        if use is not None:
            self._held.count_usage(use)

    def _capacity(self, frame_elements: int) -> int:
        """Long-term and working elements to make room for at first."""
        config = self.config
        if config.long_term:
            return config.max_working_frames * frame_elements + min(config.max_long_term, MOST_AHEAD)
        return 16 * frame_elements

    def append(
        self,
        key: Tensor,
        shrinkage: Tensor | None,
        selection: Tensor | None,
        values: Tensor,
        permanent: bool = False,
        temporary: bool = False,
        given: bool = False,
    ) -> None:
        """Remember a frame: key, selection [1, C_k, h, w], shrinkage [1, 1, h, w], values [1, O, C_v, h, w]; no
        shrinkage and selection in a network without them, which consolidates nothing.

        Objects beyond those known form a new group. Values stay in the network's precision: they are most of the bytes,
        and go back into its layers; all that decides who is read is kept in float32.
        permanent: keep the frame for good, outside all limits; only before the first frame of working memory.
        temporary: until the next frame is remembered. given: a mask was given for the frame, see `KeptFrames`.
        """
        self.prepare_append(key, shrinkage, selection, values, permanent, temporary, given)()

    def prepare_append(
        self,
        key: Tensor,
        shrinkage: Tensor | None,
        selection: Tensor | None,
        values: Tensor,
        permanent: bool = False,
        temporary: bool = False,
        given: bool = False,
    ) -> Callable[[], None]:
        """`append` up to where it changes something and can no longer fail; the function returned does the rest."""
        config, frame_elements = self.config, key.shape[-2] * key.shape[-1]
        store = self._store
        if store is None:
            capacity = self._capacity(frame_elements)
            store = ElementStore(capacity, consolidates=config.long_term, prepared_type=row_type(key))
        known = [group.objects for group in store.groups]
        new = values.shape[1] - sum(known)
        counts = [*known, new] if new else known
        rows = [part.flatten(0, 1).flatten(1).T for part in values[0].split(counts)]  # each [HW, O_g C_v]
        shrunk, selected = (None if x is None else _elements(x).float() for x in (shrinkage, selection))
        replaced = frame_elements if self._frames.has_temporary else 0
        add = store.prepare_frame(_elements(key).float(), shrunk, selected, rows, permanent, replaced)

        def append() -> None:
            add()
            if new:
                store.groups[-1].objects = new
            self._store, self._frame_elements = store, frame_elements
            if not permanent and not config.long_term:
                self._limit_frames(given, temporary)

        return append

    def _limit_frames(self, given: bool, temporary: bool) -> None:
        """Where nothing is consolidated: count the frame just appended, and forget one of too many."""
        dropped = self._frames.add(given, temporary)
        if dropped is not None:
            self._held.forget(dropped * self._frame_elements, self._frame_elements)

    def consolidate(self) -> None:
        """Working memory that has reached T_max frames -> prototypes in long-term memory (section 3.3.2)."""
        store, config = self._held, self.config
        first, latest = self._candidates()
        if first == latest:
            return
        permanent, working = store.permanent_size, store.permanent_size + store.long_term_size  # where each ends
        start, end = working + first, working + latest
        usage = store.usage()
        count = min(config.prototypes, latest - first)
        chosen = usage[start:end].topk(count).indices.sort().values  # in order of time
        kept, room = None, self._long_term_kept(count)
        if room < store.long_term_size:
            kept = usage[permanent:working].topk(room).indices.sort().values

        key = store.column("key")[start:end][chosen]
        query = prepare_query(key, store.column("selection")[start:end][chosen])
        distances = distance(query, store.column("prepared")[start:end].float())  # [P, candidates]
        shrinkage = torch.softmax(-distances, 1) @ store.column("shrinkage")[start:end]
        values = [self._prototype_values(group, distances, chosen, first, latest) for group in store.groups]
        store.consolidate(kept, first, latest, {"key": key, "shrinkage": shrinkage}, values)

    def _candidates(self) -> tuple[int, int]:
        """Where those working elements begin and end that are to be consolidated now; (0, 0) if none are."""
        config, frame = self.config, self._frame_elements
        if not config.long_term or self.working_size < config.max_working_frames * frame:
            return 0, 0
        return frame, self.working_size - (config.min_working_frames - 1) * frame

    def _long_term_kept(self, count: int) -> int:
        """Long-term elements that stay where `count` prototypes come."""
        config, held = self.config, self.long_term_size
        is_full = held + count > config.max_long_term
        return min(config.max_long_term - config.prototypes, held) if is_full else held

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that is held, as named tensors and as plain values."""
        tensors, values = self._store.save() if self._store else ({}, None)
        if self.sensory is not None:
            tensors["sensory"] = self.sensory
        return tensors, {"store": values, "frame_elements": self._frame_elements, "frames": self._frames.save()}

    def load(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """The reverse of `save`, in a new memory."""
        self._store = ElementStore.load(tensors, values["store"]) if values["store"] else None
        self.sensory, self._frame_elements = tensors.get("sensory"), values["frame_elements"]
        self._frames.load(values["frames"])

    def _prototype_values(
        self, group: ObjectGroup, distances: Tensor, chosen: Tensor, first: int, latest: int
    ) -> Tensor:
        """Values [P_g, O_g C_v] of the prototypes at whose own position the group has a value (the last P_g).

        Potentiation: read out from all of the group's candidates, softmax over all of them (equation 6).
        """
        before = self._held.working_size - group.working
        absent = max(before - first, 0)  # candidates older than the group
        if absent:
            distances = distances[chosen >= absent, absent:]
        working = group.values.rows[group.permanent + group.long_term :]
        candidates = working[max(first - before, 0) : max(latest - before, 0)]
        affinity = torch.softmax(-distances, 1)
        objects = candidates.chunk(group.objects, 1)  # one at a time: in half precision, each is copied into float32
        return torch.cat([(affinity @ own.float()).to(own.dtype) for own in objects], 1)


def _elements(x: Tensor) -> Tensor:
    """[1, C, h, w] -> [h w, C]."""
    return x[0].flatten(1).T
