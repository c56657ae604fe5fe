"""A piece of work on one video, kept on disk: key frames, objects, results, and what is made of them."""

from xmem.render.tracked import TrackedFrame
from xmem.session.project import KeyFrame, SessionObject
from xmem.session.session import Session, Step
from xmem.session.settings import TrackSettings

__all__ = ["KeyFrame", "Session", "SessionObject", "Step", "TrackSettings", "TrackedFrame"]
