"""How objects are followed: the settings of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from xmem.checkpoints import REGISTRY
from xmem.config import RELEASED_INTERVAL, MemoryConfig, interval_of
from xmem.device import PRECISIONS
from xmem.errors import InputError
from xmem.families import FAMILIES, Family
from xmem.limits import MIN_SIZE
from xmem.session.schema import MemorySettings, memory_as_json

DIRECTIONS = ("both", "forward", "backward")
SCOPES = ("frame", "around", "neighbours")  # how far a correction is carried, the least first
WHOLE = SCOPES[-1]


@dataclass(frozen=True)
class TrackSettings:
    """How objects are followed.

    model: checkpoint name or path; device: auto, cpu, cuda or mps; size: shorter side for inference in pixels, None for
    the video's own. memory: settings of the model's family, such as `MemoryConfig` for XMem, None for the
    defaults (`xmem.family_config` makes those of any family). direction: "both" blends a forward and a backward pass
    between key frames; "forward" and "backward" follow from each key frame one way only. pause_at_cuts: after a shot
    cut nothing is remembered until the objects are certain again. precision: of the network: auto, float32, float16 or
    bfloat16.
    Raises InputError for an unknown direction or precision, and for a size that is no whole number of at least 16.
    """

    model: str = "xmem-lite"
    device: str = "auto"
    size: int | None = 480
    memory: MemorySettings = None
    direction: str = "both"
    pause_at_cuts: bool = False
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise InputError(f"The direction must be one of {', '.join(DIRECTIONS)}, not {self.direction!r}.")
        if self.precision not in PRECISIONS:
            raise InputError(f"The precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}.")
        if self.size is not None and (type(self.size) is not int or self.size < MIN_SIZE):
            raise InputError(f"The inference size must be a whole number of at least {MIN_SIZE}, not {self.size!r}.")

    @property
    def signature(self) -> dict[str, Any]:
        """All that a result depends on, in JSON's types; without the device, and the precision where any will do."""
        values = self.as_json()
        del values["device"], values["direction"]
        is_own = self.memory is None or self.memory == type(self.memory)()
        memory = MemoryConfig() if is_own else self.memory  # of any family: so results named them from the first
        if isinstance(memory, MemoryConfig):
            values["memory"] = asdict(memory) | {"mem_every": memory.mem_every or self._interval()}
        if self.precision == "auto":  # also: results of projects that knew no precision stay theirs
            del values["precision"]
        return values

    def _interval(self) -> int | None:
        """r that the network chooses, and r of other families' results, which named it so from the first; None where
        only the network or the video tells."""
        record = REGISTRY.get(self.model)
        if record is None or (record.variant == "lite" and self.size is None):
            return None
        return interval_of(record.variant, self.size or 0) if record.family == "xmem" else RELEASED_INTERVAL

    def as_in(self, signatures: Sequence[dict[str, Any]]) -> TrackSettings:
        """With r as XMem was released, where results are of it and none of the network's own: those from before it had
        one go on as they are. signatures: of the results that there are."""
        memory = self.memory or MemoryConfig()
        if not isinstance(memory, MemoryConfig) or memory.mem_every is not None:
            return self
        released = replace(self, memory=replace(memory, mem_every=RELEASED_INTERVAL))
        is_before = released.signature in signatures and self.signature not in signatures
        return released if is_before else self

    def as_json(self) -> dict[str, Any]:
        """In JSON's types, as `schema` reads them."""
        return asdict(self) | {"memory": memory_as_json(self.memory)}

    def with_model(self, name: str) -> TrackSettings:
        """With a registered checkpoint that takes this one's place: settings of another family's memories become the
        defaults."""
        if name == self.model:
            return self
        own = FAMILIES[REGISTRY[name].family].config
        return replace(self, model=name, memory=self.memory if isinstance(self.memory, own) else None)

    def memory_of(self, family: Family) -> Any:
        """The settings of a network of that family. Raises InputError where those that are chosen are of another."""
        if self.memory is None:
            return family.config()
        if not isinstance(self.memory, family.config):
            raise InputError(
                f"The memory settings are a {type(self.memory).__name__}, and the model is of the family "
                f"{family.title}: give a {family.config.__name__}, or none for the defaults."
            )
        return self.memory
