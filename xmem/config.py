"""Settings of the three memories, named by the field's terms; symbols are those of the XMem paper."""

from dataclasses import dataclass

from xmem.errors import InputError


@dataclass(frozen=True)
class MemoryConfig:
    """How much is remembered, and when (XMem, section 3).

    mem_every: r, frames between memory frames; None: as it suits the network at its inference size (`interval_of`).
    deep_update_every: frames at least between deep updates of the sensory memory, which memory frames carry; negative =
        synchronised, on every memory frame, in place of the decoder's update.
    top_k: memory elements that each query position reads.
    long_term: whether old working memory is consolidated; without it working memory grows with the video.
    min_working_frames: T_min, memory frames that stay at a consolidation (the first one and the latest T_min - 1).
    max_working_frames: T_max, memory frames at which a consolidation happens.
    prototypes: P, elements that a consolidation adds to long-term memory.
    max_long_term: LT_max, elements that long-term memory may hold.
    sensory: whether a network's sensory memory is used; without it, it stays zero (for comparing).

    Raises InputError for a combination that cannot work.
    """

    mem_every: int | None = None
    deep_update_every: int = -1
    top_k: int = 30
    long_term: bool = True
    min_working_frames: int = 5
    max_working_frames: int = 10
    prototypes: int = 128
    max_long_term: int = 10_000
    sensory: bool = True

    def __post_init__(self) -> None:
        for name in ("mem_every", "top_k", "min_working_frames", "prototypes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, not {value}.")
        if self.max_working_frames <= self.min_working_frames:
            raise InputError(
                f"max_working_frames ({self.max_working_frames}) must be larger than "
                f"min_working_frames ({self.min_working_frames}), so that a consolidation frees something."
            )
        if self.max_long_term < self.prototypes:
            raise InputError(
                f"max_long_term ({self.max_long_term}) must be at least prototypes ({self.prototypes}): "
                "each consolidation adds that many elements."
            )


RELEASED_INTERVAL = 5  # r, as XMem was released
LITE_INTERVAL, LITE_INTERVAL_FROM = 3, 320  # r of xmem-lite, from so many pixels on: measured, see its model card


def interval_of(variant: str, size: int) -> int:
    """r where nobody chooses it. variant: of an XMem (`Network.variant`); size: the shorter side in pixels at which it
    runs."""
    return LITE_INTERVAL if variant == "lite" and size >= LITE_INTERVAL_FROM else RELEASED_INTERVAL
