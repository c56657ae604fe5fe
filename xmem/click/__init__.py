"""Click the object: a mask from a few clicks on an image, or from words."""

from xmem.click.clicker import NAMES, Clicker
from xmem.click.held import Box, Click, Held
from xmem.click.words import Words

__all__ = ["NAMES", "Box", "Click", "Clicker", "Held", "Words"]
