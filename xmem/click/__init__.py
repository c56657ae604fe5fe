"""Click the object: a mask from a few clicks on an image."""

from xmem.click.clicker import Clicker, Held

__all__ = ["Clicker", "Held"]
