"""Files to frames and back: streamed, in time order, in constant memory."""

from xmem.video.probe import VideoInfo, probe
from xmem.video.reader import Frame, FrameReader, first_frame, read_frame
from xmem.video.writer import VideoWriter

__all__ = ["Frame", "FrameReader", "VideoInfo", "VideoWriter", "first_frame", "probe", "read_frame"]
