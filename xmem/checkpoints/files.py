"""What a checkpoint file holds, read without ever executing code from it."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from xmem.checkpoints.catalogue import Checkpoint
from xmem.errors import InputError
from xmem.families import Family, build, family_of, recognised
from xmem.networks import Network
from xmem.networks.weights import named_tensors, weights_in


def read_state(path: str | os.PathLike) -> dict[str, Tensor]:
    """Names -> tensors of a checkpoint file, on the CPU: a safetensors file, or what torch.save made of a state dict,
    also where a training saved it with more ("state_dict" or "model" among other things).

    The content decides, not the name's ending. Nothing but tensors is ever unpickled (`weights_only`).
    Raises InputError for a file that is missing, truncated, a web page, or something else than named tensors.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(f"The checkpoint {path.name!r} cannot be read ({error.strerror}).") from error
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise InputError(f"{path.name} is a web page, not a checkpoint: fetch the file itself.")
    state = weights_in(_read_safetensors(path) if head[8:9] == b"{" else _read_pickled(path, head))
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise InputError(f"{path.name} holds something else than a plain list of named tensors: save its state dict.")
    return dict(state)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """By reading all of it: a file that is mapped into memory ends the program where somebody cuts it later."""
    try:
        return load(path.read_bytes())
    except SafetensorError as error:
        raise _damaged(path) from error


def _read_pickled(path: Path, head: bytes) -> object:
    if head[:4] == b"PK\x03\x04":
        if not zipfile.is_zipfile(path):  # the list of its parts comes last
            raise _damaged(path)
    elif head[:1] != b"\x80":  # neither torch.save's zip file nor the plain pickle that it wrote before torch 1.6
        raise InputError(f"{path.name} is not a checkpoint file: choose a .safetensors or .pth file.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path.name} holds Python objects besides tensors, which are never loaded: save its state dict alone."
        ) from error
    except Exception as error:  # reading a damaged file can raise anything
        raise InputError(
            f"{path.name} is damaged, or not a checkpoint: fetch it again or choose another file."
        ) from error


def _damaged(path: Path) -> InputError:
    return InputError(f"{path.name} is truncated or damaged: delete it and fetch it again.")


def family_in(path: Path) -> Family:
    """The family of a file's network, by the names in it. Raises InputError where it is of none, or cannot be read."""
    return recognised(named_tensors(read_state(path)))


def network_of(path: Path, record: Checkpoint | None = None) -> Network:
    """The network of a file; with a record, one of the record's family and variant."""
    state = read_state(path)
    for name, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise InputError(f"{path.name} is damaged: weights of {name!r} are no numbers; fetch it again.")
    try:
        model = build(state)
    except InputError as error:
        raise InputError(f"{path.name} cannot be loaded. {error}") from error
    family = family_of(model)
    if record is not None and (family.name, model.variant) != (record.family, record.variant):
        held = f"a network of {family.title}" if family.name != record.family else "another network"
        raise InputError(f"{path.name} holds {held}, which is not {record.name}: give it a name of its own.")
    return model
