"""Where memory elements are kept: permanent ones first, then long-term ones, then the working memory's frames in order
of time.

One contiguous table serves a read with one matrix product and one gather. Buffers are allocated ahead, for all that the
limits allow, and re-arranged in place at a consolidation, every (T_max - T_min) r frames or so: a long video takes no
more memory than a short one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from xmem.memory.attention import prepare_memory

# oneDNN, which multiplies bfloat16, makes and keeps a program for every shape: 0.7 MB each, 300 MB over 2,000 frames,
# while memory grew by a frame's elements at a time.
SHAPE_STEP = 1024


class RowBuffer:
    """Rows [n, C] in a buffer with room for more, so that an append does not move what is there."""

    def __init__(self, like: Tensor, capacity: int):
        """like: [any, C], of the type and on the device of the rows to come."""
        self._data = like.new_empty((capacity, like.shape[1]))
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def capacity(self) -> int:
        """Rows for which there is room."""
        return len(self._data)

    @property
    def rows(self) -> Tensor:
        """A view of the rows held, [n, C]."""
        return self._data[: self._size]

    def padded(self, multiple: int) -> Tensor:
        """The rows held and others behind them, which may hold anything, up to a multiple where the buffer has it."""
        return self._data[: math.ceil(self._size / multiple) * multiple]

    def reserve(self, capacity: int) -> None:
        """Room for that many rows in all. Where there is no memory for it, what is held stays as it is."""
        if capacity > len(self._data):
            grown = self._data.new_empty((capacity, self._data.shape[1]))
            grown[: self._size] = self.rows
            self._data = grown

    def make_room(self, more: int) -> None:
        """Room for that many more rows. A full buffer doubles: only memories without a limit, or with a far one."""
        if self._size + more > len(self._data):
            self.reserve(max(self._size + more, 2 * len(self._data)))

    def append(self, rows: Tensor) -> None:
        """Add rows for which there is room."""
        self._data[self._size : self._size + len(rows)] = rows
        self._size += len(rows)

    def drop_last(self, count: int) -> None:
        """Take away the last rows."""
        self._size -= count

    def replace(self, start: int, old: int, new: Tensor, head: int, removed: int) -> None:
        """[start | old | head | removed | tail] -> [start | new | head | tail], in place and without other memory.

        All but `new`, rows no more than those old and removed together, are numbers of rows.
        """
        new_head = start + len(new)
        tail_at, tail = start + old + head + removed, self._size - start - old - head - removed
        self._move(start + old, new_head, head)
        self._data[start:new_head] = new
        self._move(tail_at, new_head + head, tail)
        self._size = new_head + head + tail

    def _move(self, source: int, target: int, count: int) -> None:
        """Rows to a place that may overlap with theirs: in steps of the distance, of which none overlaps."""
        distance = abs(target - source)
        starts = range(0, count, distance) if distance else ()
        for start in starts if target < source else reversed(starts):
            end = min(start + distance, count)
            self._data[target + start : target + end] = self._data[source + start : source + end]


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

    capacity: long-term and working elements to make room for at first. What there is no memory for changes nothing.
    consolidates: without it, only what reads multiply is kept of keys, and `usage` is not counted.
    prepared_type: of the rows that reads multiply.
    """

    def __init__(self, capacity: int, consolidates: bool, prepared_type: torch.dtype = torch.float32):
        self.prepared_type = prepared_type
        self._capacity = capacity
        self._consolidates = consolidates
        self._columns: dict[str, RowBuffer] = {}
        self.groups: list[ObjectGroup] = []
        self.permanent_size = 0
        self.long_term_size = 0

    def __len__(self) -> int:
        return len(self._columns["prepared"]) if self._columns else 0

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

    def prepared_rows(self) -> Tensor:
        """What queries are multiplied with: the prepared rows; in bfloat16, as many behind them as make a multiple of
        SHAPE_STEP, whose content means nothing, follow."""
        prepared = self._columns["prepared"]
        return prepared.padded(SHAPE_STEP) if self.prepared_type == torch.bfloat16 else prepared.rows

    def prepare_frame(
        self,
        key: Tensor,
        shrinkage: Tensor | None,
        selection: Tensor | None,
        values: list[Tensor],
        permanent: bool = False,
        replaced: int = 0,
    ) -> Callable[[], None]:
        """Make ready to add one frame's elements to working memory; or to permanent memory, while it is all there is.

        key [n, C_k], shrinkage [n, 1], selection [n, C_k], None in a network without them; values: a [n, O_g C_v] for
        each group and one more for a new group, if any. replaced: latest working elements, of which every group known
        has values, whose place the new ones take.
        What can fail, and takes memory, is done here; the function returned adds them.
        """
        new = {"prepared": prepare_memory(key, shrinkage, self.prepared_type)}
        if self._consolidates:
            assert shrinkage is not None and selection is not None  # only networks with them consolidate
            new |= {"key": key, "shrinkage": shrinkage, "selection": selection, "usage": _fresh(key)}
        columns = self._columns or {name: RowBuffer(rows, self._capacity) for name, rows in new.items()}
        joined = values[len(self.groups) :]
        groups = [*self.groups, *(ObjectGroup(0, RowBuffer(rows, self._capacity)) for rows in joined)]
        buffers = [*(columns[name] for name in new), *(group.values for group in groups)]
        for buffer in buffers:  # all that takes memory comes first
            if not permanent and not self.working_size:  # the permanent elements are complete, and what follows limited
                buffer.reserve(len(buffer) + self._capacity)
            buffer.make_room(len(key))

        def append() -> None:
            self._drop_last(replaced)
            for buffer, rows in zip(buffers, [*new.values(), *values], strict=True):
                buffer.append(rows)
            self._columns, self.groups = columns, groups
            for group in groups:
                if permanent:
                    group.permanent += len(key)
                else:
                    group.working += len(key)
            if permanent:
                self.permanent_size += len(key)

        return append

    def _drop_last(self, count: int) -> None:
        for buffer in [*self._columns.values(), *(group.values for group in self.groups)]:
            buffer.drop_last(count)
        for group in self.groups:
            group.working -= count

    def forget(self, first: int, count: int) -> None:
        """Take working elements [first, first + count) away, in place and without other memory."""
        working = self.permanent_size + self.long_term_size  # where it begins
        older = [self._before(group) for group in self.groups]
        for buffer in self._columns.values():
            buffer.replace(working, 0, buffer.rows[:0], first, count)
        for group, before in zip(self.groups, older, strict=True):
            start, end = max(first - before, 0), max(first + count - before, 0)
            group.values.replace(group.permanent + group.long_term, 0, group.values.rows[:0], start, end - start)
            group.working -= end - start

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All rows as named tensors, and the counts as plain values."""
        named = {**self._columns, **{f"values{i}": group.values for i, group in enumerate(self.groups)}}
        groups = [[group.objects, group.permanent, group.long_term, group.working] for group in self.groups]
        return {name: buffer.rows for name, buffer in named.items()}, {
            "columns": list(self._columns),
            "capacities": {name: buffer.capacity for name, buffer in named.items()},
            "groups": groups,
            "capacity": self._capacity,
            "consolidates": self._consolidates,
            "permanent_size": self.permanent_size,
            "long_term_size": self.long_term_size,
        }

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> ElementStore:
        """The reverse of `save`."""
        store = cls(values["capacity"], values["consolidates"], tensors["prepared"].dtype)

        def buffer(name: str) -> RowBuffer:
            rows = RowBuffer(tensors[name], values["capacities"][name])
            rows.append(tensors[name])
            return rows

        store._columns = {name: buffer(name) for name in values["columns"]}
        for i, (objects, permanent, long_term, working) in enumerate(values["groups"]):
            group = ObjectGroup(objects, buffer(f"values{i}"))
            group.permanent, group.long_term, group.working = permanent, long_term, working
            store.groups.append(group)
        store.permanent_size, store.long_term_size = values["permanent_size"], values["long_term_size"]
        return store

    def count_usage(self, use: Tensor) -> None:
        """After a read: add to each element's use, [N], and count the read in its life; later elements are left out."""
        usage = self.column("usage")[: len(use)]
        usage[:, 0] += use
        usage[:, 1] += 1

    def usage(self) -> Tensor:
        """use / life of every element, [N]."""
        use, life = self.column("usage").unbind(1)
        return use / life

    def exclude(self, group: ObjectGroup, distances: Tensor) -> None:
        """Set the distances [Q, N] of elements without a value of the group to inf, in place. Groups are read in order
        of arrival, and those after it have no value there either, so that none needs distances of its own."""
        start = 0
        for size, count in self._sizes(group):
            if count < size:
                distances[:, start : start + size - count].fill_(float("inf"))
            start += size

    def value_rows(self, group: ObjectGroup, index: Tensor) -> Tensor:
        """Element indices -> rows of the group's values; those of excluded elements become any row."""
        sizes = self._sizes(group)
        (a, b, c) = (size - count for size, count in sizes)  # permanent, long-term and working elements without a value
        if not a + b + c:
            return index
        long_term, working = self.permanent_size, self.permanent_size + self.long_term_size  # where each begins
        missing = a + b * (index >= long_term) + c * (index >= working)
        return (index - missing).clamp_min_(0)

    def _sizes(self, group: ObjectGroup) -> list[tuple[int, int]]:
        """(elements, those with a value of the group) of the three memories."""
        held = (group.permanent, group.long_term, group.working)
        return list(zip((self.permanent_size, self.long_term_size, self.working_size), held, strict=True))

    def consolidate(
        self, kept: Tensor | None, first: int, latest: int, prototypes: dict[str, Tensor], values: list[Tensor]
    ) -> None:
        """Replace working elements [first, latest) by prototypes, which join the long-term elements that are kept.

        kept: ascending indices among long-term elements, None for all; prototypes: 'key', 'shrinkage' in order of time;
        values: for each group those of the last prototypes, as many as have a value.
        """
        new = {
            "key": prototypes["key"],
            "shrinkage": prototypes["shrinkage"],
            "prepared": prepare_memory(prototypes["key"], prototypes["shrinkage"], self.prepared_type),
            "usage": _fresh(prototypes["key"]),
            # long-term elements are never candidates again: theirs is never looked at
            "selection": torch.zeros_like(prototypes["key"]),
        }
        changes = []  # all that takes memory comes first: (buffer, what `RowBuffer.replace` asks for)
        permanent, long_term = self.permanent_size, self.long_term_size
        for name, rows in new.items():
            buffer = self._columns[name]
            changes.append((buffer, _change(buffer.rows, permanent, long_term, kept, rows, first, latest - first)))
        held = []  # (group, its long-term and working elements then)
        for group, rows in zip(self.groups, values, strict=True):
            missing = long_term - group.long_term  # long-term elements older than the group
            own = kept if kept is None or not missing else kept[kept >= missing] - missing
            head, end = (max(mark - self._before(group), 0) for mark in (first, latest))
            change = _change(group.values.rows, group.permanent, group.long_term, own, rows, head, end - head)
            changes.append((group.values, change))
            count = group.long_term if own is None else len(own)
            held.append((group, count + len(rows), group.working - (end - head)))
        for buffer, change in changes:
            buffer.replace(*change)
        for group, group_long_term, group_working in held:
            group.long_term, group.working = group_long_term, group_working
        self.long_term_size = (long_term if kept is None else len(kept)) + len(prototypes["key"])

    def _before(self, group: ObjectGroup) -> int:
        """Working elements older than the group."""
        return self.working_size - group.working


def _change(
    rows: Tensor, start: int, old: int, kept: Tensor | None, new: Tensor, head: int, removed: int
) -> tuple[int, int, Tensor, int, int]:
    """What `RowBuffer.replace` needs so that `new` follow those of the old rows that are kept (None: all, in place)."""
    if kept is None:
        return start + old, 0, new, head, removed
    return start, old, torch.cat([rows[start : start + old][kept], new]), head, removed


def _fresh(key: Tensor) -> Tensor:
    """Usage of new elements: use 0, life 1e-7, [n, 2]."""
    usage = torch.zeros((len(key), 2), device=key.device)
    usage[:, 1].fill_(1e-7)  # a number assigned would be brought to the device first
    return usage
