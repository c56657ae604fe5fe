"""Where memory elements are kept: permanent ones first, then long-term ones, then the working memory's frames in order
of time.

One contiguous table serves a read with one matrix product and one gather. Buffers are allocated ahead and only
re-arranged at a consolidation, every (T_max - T_min) r frames or so.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xmem.memory.attention import prepare_memory


class RowBuffer:
    """Rows [n, C] in a buffer that doubles when it is full, so that an append does not move what is there."""

    def __init__(self, rows: Tensor, capacity: int):
        self._data = rows.new_empty((max(capacity, len(rows)), rows.shape[1]))
        self._size = 0
        self.append(rows)

    def __len__(self) -> int:
        return self._size

    @property
    def rows(self) -> Tensor:
        """A view of the rows held, [n, C]."""
        return self._data[: self._size]

    def append(self, rows: Tensor) -> None:
        end = self._size + len(rows)
        if end > len(self._data):
            grown = self._data.new_empty((max(end, 2 * len(self._data)), self._data.shape[1]))
            grown[: self._size] = self.rows
            self._data = grown
        self._data[self._size : end] = rows
        self._size = end

    def replace(self, rows: Tensor) -> None:
        """Hold exactly `rows`, which must not be a view of this buffer."""
        self._size = 0
        self.append(rows)


class ObjectGroup:
    """Values of objects that joined on the same frame; only elements from that frame on have them.

    `values` holds rows for the last `permanent` of the store's permanent elements, the last `long_term` of its
    long-term elements and the last `working` of its working elements, in this order: a value never loses its own key.
    """

    def __init__(self, objects: int, values: RowBuffer):
        self.objects = objects
        self.values = values
        self.permanent = self.long_term = self.working = 0


class ElementStore:
    """Keys, shrinkage, selection, usage and each object group's values of all memory elements.

    capacity: elements to make room for at first.
    """

    def __init__(self, capacity: int, keep_selection: bool):
        self._capacity = capacity
        self._keep_selection = keep_selection
        self._columns: dict[str, RowBuffer] = {}
        self.groups: list[ObjectGroup] = []
        self.permanent_size = 0
        self.long_term_size = 0

    def __len__(self) -> int:
        return len(self._columns["key"]) if self._columns else 0

    @property
    def working_size(self) -> int:
        return len(self) - self.permanent_size - self.long_term_size

    @property
    def bytes(self) -> int:
        """Bytes of all rows held; the buffers, allocated ahead, may be larger."""
        rows = [*(buffer.rows for buffer in self._columns.values()), *(group.values.rows for group in self.groups)]
        return sum(r.numel() * r.element_size() for r in rows)

    def column(self, name: str) -> Tensor:
        """A view [N, C] of 'key', 'prepared', 'shrinkage', 'usage' (use, life) or 'selection'."""
        return self._columns[name].rows

    def append_frame(
        self, key: Tensor, shrinkage: Tensor, selection: Tensor, values: list[Tensor], permanent: bool = False
    ) -> None:
        """Add one frame's elements to working memory; or to permanent memory, while it is all that there is.

        key [n, C_k], shrinkage [n, 1], selection [n, C_k]; values: a [n, O_g C_v] for each group and one more for
        a new group, if any.
        """
        new = {"key": key, "prepared": prepare_memory(key, shrinkage), "shrinkage": shrinkage, "usage": _fresh(key)}
        if self._keep_selection:
            new["selection"] = selection
        for name, rows in new.items():
            self._append_column(name, rows)
        for i, rows in enumerate(values):
            if i < len(self.groups):
                self.groups[i].values.append(rows)
            else:
                self.groups.append(ObjectGroup(0, RowBuffer(rows, self._capacity)))
            if permanent:
                self.groups[i].permanent += len(rows)
            else:
                self.groups[i].working += len(rows)
        if permanent:
            self.permanent_size += len(key)

    def _append_column(self, name: str, rows: Tensor) -> None:
        if name in self._columns:
            self._columns[name].append(rows)
        else:
            self._columns[name] = RowBuffer(rows, self._capacity)

    def count_usage(self, weights: Tensor, index: Tensor) -> None:
        """After a read: add each element's affinity, summed over queries, to its use (life: `count_life`)."""
        use = self.column("usage")[:, 0]
        use.index_add_(0, index.flatten(), weights.flatten())

    def count_life(self) -> None:
        self.column("usage")[:, 1] += 1

    def usage(self) -> Tensor:
        """use / life of every element, [N]."""
        use, life = self.column("usage").unbind(1)
        return use / life

    def group_columns(self, group: ObjectGroup, scores: Tensor) -> Tensor:
        """The columns of scores [Q, N] whose elements have values of this group, in the order of its values."""
        held, end, spans = (group.permanent, group.long_term, group.working), 0, []
        for size, count in zip((self.permanent_size, self.long_term_size, self.working_size), held, strict=True):
            end += size
            if count and spans and spans[-1][1] == end - count:
                spans[-1] = (spans[-1][0], end)
            elif count:
                spans.append((end - count, end))
        if len(spans) == 1:  # a view: only groups that joined late pay for a copy
            return scores[:, slice(*spans[0])]
        return torch.cat([scores[:, slice(*span)] for span in spans], 1)

    def consolidate(
        self, long_term_kept: Tensor, first: int, latest: int, prototypes: dict[str, Tensor], values: list[Tensor]
    ) -> None:
        """Replace working elements [first, latest) by prototypes, which join the long-term elements that are kept.

        long_term_kept: ascending indices among them; prototypes: 'key', 'shrinkage' in order of time; values: for each
        group those of the last prototypes, as many as have a value.
        """
        m, n = self.permanent_size, self.permanent_size + self.long_term_size
        new = {
            "key": prototypes["key"],
            "shrinkage": prototypes["shrinkage"],
            "prepared": prepare_memory(prototypes["key"], prototypes["shrinkage"]),
            "usage": _fresh(prototypes["key"]),
        }
        if self._keep_selection:  # long-term elements are never candidates again: theirs is never looked at
            new["selection"] = torch.zeros_like(prototypes["key"])
        for group, rows in zip(self.groups, values, strict=True):
            self._consolidate_group(group, long_term_kept, first, latest, rows)
        for name, rows in new.items():
            old = self.column(name)
            kept = [old[:m], old[m:n][long_term_kept], rows, old[n : n + first], old[n + latest :]]
            self._columns[name].replace(torch.cat(kept))
        self.long_term_size = len(long_term_kept) + len(prototypes["key"])

    def _consolidate_group(
        self, group: ObjectGroup, long_term_kept: Tensor, first: int, latest: int, rows: Tensor
    ) -> None:
        missing = self.long_term_size - group.long_term  # long-term elements older than the group
        kept = long_term_kept[long_term_kept >= missing] - missing
        absent = self.working_size - group.working  # working elements older than the group
        permanent, long_term, working = group.values.rows.split([group.permanent, group.long_term, group.working])
        head, tail = working[: max(first - absent, 0)], working[max(latest - absent, 0) :]
        group.values.replace(torch.cat([permanent, long_term[kept], rows, head, tail]))
        group.long_term = len(kept) + len(rows)
        group.working = len(head) + len(tail)


def _fresh(key: Tensor) -> Tensor:
    """Usage of new elements: use 0, life 1e-7, [n, 2]."""
    usage = torch.zeros((len(key), 2), device=key.device)
    usage[:, 1] = 1e-7
    return usage
