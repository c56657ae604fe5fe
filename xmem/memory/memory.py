"""The three memories of XMem (section 3): sensory, working and long-term, behind read, append and update.

A fourth one, permanent, holds key frames for good (as in XMem++, Bekuzarov et al., ICCV 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xmem.config import MemoryConfig
from xmem.memory.attention import (
    prepare_query,
    query_chunks,
    read_values,
    similarity,
    top_k_softmax,
)
from xmem.memory.store import ElementStore


@dataclass(frozen=True)
class MemoryUse:
    """Elements in each memory (one = one stride-16 position of one memory frame), and the bytes that they and the
    sensory memory take."""

    permanent: int
    working: int
    long_term: int
    bytes: int


class Memory:
    """What is remembered between the frames of one video.

    Objects are channels in order of arrival; those that arrive on the same frame form a group. Permanent, working and
    long-term elements live in one store (one element = one stride-16 position of one memory frame).
    """

    def __init__(self, config: MemoryConfig):
        self.config = config
        self.sensory: Tensor | None = None  # [1, O, C_h, h, w]
        self._store: ElementStore | None = None
        self._frame_elements = 0  # HW, elements per frame

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

    def read(self, key: Tensor, selection: Tensor) -> Tensor:
        """key, selection [1, C_k, h, w] of the query frame -> readout [1, O, C_v, h, w].

        Each group's softmax runs over the elements for which it has values, in all memories together.
        """
        store, config = self._store, self.config
        height, width = key.shape[-2:]
        query = prepare_query(_elements(key), _elements(selection))  # [HW, 2 C_k + 1]
        tables = [group.values.rows for group in store.groups]  # each [N_g, O_g C_v]
        out = [table.new_empty((len(query), table.shape[1])) for table in tables]
        for chunk in query_chunks(len(query), len(store), query.device):
            scores = similarity(query[chunk], store.column("prepared"))  # [Q, N]
            for i, group in enumerate(store.groups):
                weights, index = top_k_softmax(store.group_columns(group, scores), config.top_k)
                out[i][chunk] = read_values(tables[i], weights, index)
                if i == 0 and config.long_term:
                    store.count_usage(weights, index)
        store.count_life()
        pairs = zip(out, store.groups, strict=True)
        # [HW, O_g C_v] -> [O_g, C_v, h, w], a view: rows of one object are channels-last as they lie
        groups = [rows.view(height, width, group.objects, -1).permute(2, 3, 0, 1) for rows, group in pairs]
        return torch.cat(groups)[None]

    def append(
        self, key: Tensor, shrinkage: Tensor, selection: Tensor, values: Tensor, permanent: bool = False
    ) -> None:
        """Remember a frame: key, selection [1, C_k, h, w], shrinkage [1, 1, h, w], values [1, O, C_v, h, w].

        Objects beyond those known form a new group. Consolidates working memory where it has reached T_max frames.
        permanent: keep the frame for good, outside all limits; only before the first frame of working memory.
        """
        config = self.config
        self._frame_elements = key.shape[-2] * key.shape[-1]
        if self._store is None:
            frames = config.max_working_frames if config.long_term else 16
            capacity = frames * self._frame_elements + config.prototypes * config.long_term
            self._store = ElementStore(capacity, keep_selection=config.long_term)
        known = [group.objects for group in self._store.groups]
        new = values.shape[1] - sum(known)
        counts = [*known, new] if new else known
        rows = [part.flatten(0, 1).flatten(1).T for part in values[0].split(counts)]  # each [HW, O_g C_v]
        self._store.append_frame(
            _elements(key).float(), _elements(shrinkage).float(), _elements(selection).float(), rows, permanent
        )
        if new:
            self._store.groups[-1].objects = new
        if config.long_term and self.working_size >= config.max_working_frames * self._frame_elements:
            self._consolidate()

    def add_sensory(self, objects: Tensor) -> None:
        """Append sensory rows [1, O_new, C_h, h, w] for objects that have just arrived."""
        self.sensory = objects if self.sensory is None else torch.cat([self.sensory, objects], 1)

    def _consolidate(self) -> None:
        """Working memory -> prototypes in long-term memory (section 3.3.2)."""
        store, config = self._store, self.config
        first = self._frame_elements
        latest = store.working_size - (config.min_working_frames - 1) * self._frame_elements
        permanent, working = store.permanent_size, store.permanent_size + store.long_term_size  # where each ends
        start, end = working + first, working + latest
        usage = store.usage()
        count = min(config.prototypes, latest - first)
        chosen = usage[start:end].topk(count).indices.sort().values  # in order of time
        kept = torch.arange(store.long_term_size, device=usage.device)
        if store.long_term_size + count > config.max_long_term:
            room = config.max_long_term - config.prototypes
            kept = usage[permanent:working].topk(min(room, len(kept))).indices.sort().values

        key = store.column("key")[start:end][chosen]
        query = prepare_query(key, store.column("selection")[start:end][chosen])
        scores = similarity(query, store.column("prepared")[start:end])  # [P, candidates]
        shrinkage = torch.softmax(scores, 1) @ store.column("shrinkage")[start:end]
        values = [self._prototype_values(group, scores, chosen, first, latest) for group in store.groups]
        store.consolidate(kept, first, latest, {"key": key, "shrinkage": shrinkage}, values)

    def _prototype_values(self, group, scores: Tensor, chosen: Tensor, first: int, latest: int) -> Tensor:
        """Values [P_g, O_g C_v] of the prototypes at whose own position the group has a value (the last P_g).

        Potentiation: read out from all of the group's candidates, softmax over all of them (equation 6).
        """
        absent = max(self._store.working_size - group.working - first, 0)  # candidates older than the group
        own = chosen >= absent
        working = group.values.rows[group.permanent + group.long_term :]
        offset = self._store.working_size - group.working
        candidates = working[max(first - offset, 0) : max(latest - offset, 0)]
        affinity = torch.softmax(scores[own][:, absent:], 1)
        return (affinity @ candidates.float()).to(candidates.dtype)


def _elements(x: Tensor) -> Tensor:
    """[1, C, h, w] -> [h w, C]."""
    return x[0].flatten(1).T
