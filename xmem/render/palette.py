"""Colours of objects: the DAVIS palette of mask files, and the bright ones of brush and overlay."""

import numpy as np


def _davis_palette() -> np.ndarray:
    """uint8 [256, 3]: 22 colours whose bits spell the index (in levels 0, 64, 128, 191), then greys of the index."""
    palette = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    for index in range(22):
        for channel in range(3):
            high, low = index >> channel & 1, index >> (channel + 3) & 1
            palette[index, channel] = (0, 64, 128, 191)[2 * high + low]
    return palette


DAVIS_PALETTE = _davis_palette()

# Told apart by hue and by lightness, also with red-green colour blindness; object i has colour i - 1, wrapping around.
OBJECT_COLORS: tuple[tuple[str, str], ...] = (
    ("red", "#ff3b3b"),
    ("blue", "#2f7dff"),
    ("yellow", "#ffd60a"),
    ("green", "#00c27a"),
    ("pink", "#ff7ad0"),
    ("cyan", "#4fe0ff"),
    ("orange", "#ff8a1f"),
    ("violet", "#8247e5"),
)


def color_of(object_id: int) -> tuple[int, int, int]:
    """RGB (0 to 255) of an object, counted from 1."""
    code = _entry(object_id)[1]
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def name_of(object_id: int) -> str:
    """The colour name of an object, counted from 1."""
    return _entry(object_id)[0]


def _entry(object_id: int) -> tuple[str, str]:
    if object_id < 1:
        raise ValueError(f"Objects count from 1, not {object_id}.")
    return OBJECT_COLORS[(object_id - 1) % len(OBJECT_COLORS)]
