"""All that a propagator holds between two frames, on disk and back: a run that is suspended goes on elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from xmem.errors import InputError
from xmem.networks import Network

VERSION = 1
_LOOKED_AT = 16  # values at either end of a tensor, by which weights are told apart


@dataclass(frozen=True)
class EngineState:
    """What `Propagator.state` gives and `resume` takes: tensors by name, and plain values that JSON can hold.

    notes: what the caller wants to find with it, of the same kind. Its size is that of the memories.
    """

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]
    notes: Mapping[str, Any] = field(default_factory=dict)

    def write(self, path: str | os.PathLike) -> None:
        """Write a safetensors file in one replace."""
        path = Path(path)
        layouts = {name: list(tensor.stride()) for name, tensor in self.tensors.items()}
        about = {"version": VERSION, "values": self.values, "notes": self.notes, "layouts": layouts}
        temporary = path.with_name(path.name + ".part")
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in self.tensors.items()}
        save_file(plain, temporary, metadata={"xmem": json.dumps(about)})
        os.replace(temporary, path)

    @staticmethod
    def read(path: str | os.PathLike) -> EngineState:
        """Read what `write` wrote, onto the CPU; nothing in it is ever run. Raises InputError for anything else."""
        with _reading(path), safe_open(path, framework="pt", device="cpu") as file:
            about, names = _about(file), list(file.keys())
            tensors = {name: _laid_out(file.get_tensor(name), about["layouts"][name]) for name in names}
            return EngineState(tensors, dict(about["values"]), dict(about["notes"]))


def read_notes(path: str | os.PathLike) -> dict[str, Any]:
    """The notes of a state's file, without its tensors. Raises InputError as `EngineState.read` does."""
    with _reading(path), safe_open(path, framework="pt", device="cpu") as file:
        return dict(_about(file)["notes"])


def _about(file: Any) -> dict[str, Any]:
    about = json.loads((file.metadata() or {})["xmem"])
    if about["version"] != VERSION:
        raise ValueError(about["version"])
    return about


@contextmanager
def _reading(path: str | os.PathLike) -> Iterator[None]:
    """Whatever a damaged file leads to becomes a sentence."""
    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        name = Path(path).name
        raise InputError(f"{name} is no state of a run, or it is damaged: start the run anew.") from error


def fingerprint(model: Network) -> str:
    """Tells networks apart by names, shapes, precision and some of their values; takes a moment."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        flat = tensor.detach().flatten()
        ends = torch.cat([flat[:_LOOKED_AT], flat[-_LOOKED_AT:]]).double().cpu()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode() + ends.numpy().tobytes())
    return digest.hexdigest()


def _laid_out(tensor: Tensor, strides: list[int]) -> Tensor:
    """The same numbers in the order in memory that they had: layers compute in the layout in which they are given
    them, and then to the same bit."""
    if list(tensor.stride()) == strides:
        return tensor
    if sum((size - 1) * stride for size, stride in zip(tensor.shape, strides, strict=True)) >= tensor.numel():
        raise ValueError("a layout that does not fit")
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype).copy_(tensor)
