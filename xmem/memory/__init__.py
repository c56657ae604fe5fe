"""What is remembered between frames: attention over it, the store of its elements, the three memories."""

from xmem.memory.memory import Memory

__all__ = ["Memory"]
