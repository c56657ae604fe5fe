"""Checkpoints: the catalogue, the store, files read without running code, and loading."""

from xmem.checkpoints.catalogue import EMBEDDED, HELD_BACK, REGISTRY, Checkpoint, default_model
from xmem.checkpoints.download import FetchProgress
from xmem.checkpoints.files import read_state
from xmem.checkpoints.load import load_model
from xmem.checkpoints.store import accept, fetch, fetch_with_bar, find, folder, own_files

__all__ = [
    "EMBEDDED",
    "HELD_BACK",
    "REGISTRY",
    "Checkpoint",
    "FetchProgress",
    "accept",
    "default_model",
    "fetch",
    "fetch_with_bar",
    "find",
    "folder",
    "load_model",
    "own_files",
    "read_state",
]
