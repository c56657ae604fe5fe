"""Frames in the source's style."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xmem.export.source import ExportSource
from xmem.render.palette import color_of
from xmem.render.styles import StyleRenderer
from xmem.render.tracked import TrackedFrame


def renderer(source: ExportSource) -> Callable[[TrackedFrame], np.ndarray]:
    """A function from a tracked frame to uint8 [H, W, 3] RGB in the source's style.

    Raises InputError where the style needs a picture that is missing.
    """
    colors = {item.id: color_of(item.color + 1) for item in source.objects}
    looks = StyleRenderer(source.style, source.info.width, source.info.height, colors)
    length = max(1, source.last - source.first)
    return lambda tracked: looks.render(tracked, min(1.0, (tracked.frame.index - source.first) / length))
