"""What may be uploaded here, in one line to be read before anybody tries."""

from demo.html import panels
from xmem.limits import Limits


def line(limits: Limits) -> str:
    """ "Up to 300 MB, 10 min and 9 megapixels a frame." """
    pixels = f"{limits.frame_pixels / 1e6:,.3g}"
    return f"Up to {panels.size(limits.upload_bytes)}, {_time(limits.seconds)} and {pixels} megapixels a frame."


def _time(seconds: int) -> str:
    """Without seconds where they are none: "10 min", "10 h"."""
    if seconds % 3600 == 0:
        return f"{seconds // 3600} h"
    return f"{seconds // 60} min" if seconds % 60 == 0 else panels.duration(seconds)
