"""No program of the system is started for a file that a stranger has given."""

import PIL.EpsImagePlugin
from gradio import processing_utils


def start_none() -> None:
    """For this process: neither Gradio's FFmpeg, for videos that it shows, nor Pillow's Ghostscript, for images that
    Gradio's own components read.

    Both look on the PATH, and would run with all that they can read, and not only with what `xmem.video` lists.
    """
    processing_utils.ffmpeg_installed = lambda: False
    PIL.EpsImagePlugin.gs_binary = False
