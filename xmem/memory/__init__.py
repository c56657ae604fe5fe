"""What is remembered between frames: attention over it, the store of its elements, the memories."""

from xmem.memory.memory import Memory, MemoryUse

__all__ = ["Memory", "MemoryUse"]
