"""Files to frames and back: streamed in time order or reached in any order, in constant memory."""

from xmem.video.access import FrameAccess
from xmem.video.probe import VideoInfo, probe
from xmem.video.reader import Frame, FrameReader, first_frame
from xmem.video.writer import VideoWriter

__all__ = ["Frame", "FrameAccess", "FrameReader", "VideoInfo", "VideoWriter", "first_frame", "probe"]
