"""Checkpoints: the catalogue, the store, files read without running code, and loading."""

from xmem.checkpoints.catalogue import EMBEDDED, HELD_BACK, REGISTRY, Checkpoint, default_model
from xmem.checkpoints.download import FetchProgress
from xmem.checkpoints.files import family_in, read_state
from xmem.checkpoints.load import Chosen, Loaded, fetch_or_embedded, load_model, load_or_embedded
from xmem.checkpoints.store import accept, fetch, fetch_with_bar, find, folder, is_at_hand, own_files, with_bar

__all__ = [
    "EMBEDDED",
    "HELD_BACK",
    "REGISTRY",
    "Checkpoint",
    "Chosen",
    "FetchProgress",
    "Loaded",
    "accept",
    "default_model",
    "family_in",
    "fetch",
    "fetch_or_embedded",
    "fetch_with_bar",
    "find",
    "folder",
    "is_at_hand",
    "load_model",
    "load_or_embedded",
    "own_files",
    "read_state",
    "with_bar",
]
