"""A checkpoint, by its name or file -> a network that is ready for inference."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from xmem.checkpoints.catalogue import EMBEDDED, REGISTRY, Checkpoint, unknown
from xmem.checkpoints.download import FetchProgress
from xmem.checkpoints.files import network_of
from xmem.checkpoints.store import (
    fetch,
    fetch_with_bar,
    find,
    is_at_hand,
    unchanged,
    with_bar,
)
from xmem.device import choose_precision, select_device
from xmem.errors import InputError
from xmem.families import build, fits_range
from xmem.networks import Network
from xmem.networks.cpu import fold_batch_norm, optimise_for_cpu
from xmem.networks.split import use_split

log = logging.getLogger("xmem")
N = TypeVar("N", bound=Network)


def load_model(
    source: str | os.PathLike | Mapping = EMBEDDED,
    device: str | torch.device = "auto",
    precision: str = "float32",
    winograd: bool = True,
) -> Network:
    """The network of a checkpoint, ready for inference on `device` (batch norm folded into the convolutions).

    source: a name of the registry (fetched if it is not at hand), a name or path of a file, or a mapping of names to
    tensors; all sizes are read off the weights. device: see `select_device`, or a torch device. precision: see
    `choose_precision`; probabilities are float32 in any. winograd: compute large 3x3 convolutions with fewer products
    on a CPU in float32 (XMem: outputs within 1e-5, see `xmem.networks.cpu.winograd`); False computes all of
    them directly. On a CPU, layers are replaced by faster ones (see `xmem.networks.cpu`).
    Raises InputError for what cannot be found, fetched, or loaded as a network of a known family.
    """
    place = device if isinstance(device, torch.device) else select_device(device)
    dtype = choose_precision(precision, place)  # before anything is fetched
    if isinstance(source, Mapping):
        model = build(source)
    elif isinstance(source, str) and source in REGISTRY:
        model = _load_registered(REGISTRY[source])
    else:
        model = network_of(locate(source))
    model = ready(model, place, dtype, winograd)
    return model if precision != "auto" or dtype != torch.float16 else within_range(model)


def ready(model: N, device: torch.device, dtype: torch.dtype, winograd: bool = True) -> N:
    """A network as its weights were loaded -> the same one for inference on a device, in a precision."""
    # Channels-last: about half the time for the lite encoders' depthwise convolutions on a CPU, no loss elsewhere.
    model = fold_batch_norm(model).to(device, dtype).to(memory_format=torch.channels_last)
    if device.type == "cpu":
        optimise_for_cpu(model, model.is_small, winograd)
    else:
        use_split(model)
    return model


def within_range(model: Network) -> Network:
    """A network in float16 that was not asked for by name, or in bfloat16 where its numbers do not fit; says so."""
    if fits_range(model):
        return model
    log.warning("This network's numbers are beyond what float16 holds: it computes in bfloat16 instead.")
    return model.to(torch.bfloat16)


@dataclass(frozen=True)
class Chosen:
    """The checkpoint to go on with. note: why it is not the one that was asked for, a sentence for people, or ""."""

    name: str
    note: str = ""


@dataclass(frozen=True)
class Loaded:
    """A network that is ready for inference. name, note: see `Chosen`."""

    model: Network
    name: str
    note: str = ""


def fetch_or_embedded(name: str, show_bar: bool = False) -> Iterator[FetchProgress | Chosen]:
    """Bring a checkpoint to hand where it is not: yields how much has arrived, and last which one to go on with.

    show_bar: draw a progress bar on standard error.
    """
    chosen = Chosen(name)
    if not is_at_hand(name):
        try:
            yield from with_bar(name) if show_bar else fetch(name)
        except InputError as error:
            chosen = _embedded(name, error)
    yield chosen


def load_or_embedded(
    name: str,
    device: str = "auto",
    precision: str = "auto",
    load: Callable[[str, str, str], Network] = load_model,
) -> Loaded:
    """The network of a checkpoint, or the embedded one where that cannot be had; parameters as for `load_model`.

    load: from name, device and precision to a network, for whoever keeps those that were loaded. Raises InputError
    where the embedded one cannot be loaded either.
    """
    try:
        return Loaded(load(name, device, precision), name)
    except InputError as error:
        chosen = _embedded(name, error)
    return Loaded(load(chosen.name, device, precision), chosen.name, chosen.note)


def _embedded(name: str, reason: InputError) -> Chosen:
    """The one place where the embedded checkpoint takes another's place: said, and never its own."""
    if name == EMBEDDED:
        raise reason
    log.warning("%s cannot be used, %s takes its place: %s", name, EMBEDDED, reason)
    return Chosen(EMBEDDED, f"{str(reason).rstrip('.')} – the work goes on with {EMBEDDED}.")


def _load_registered(record: Checkpoint) -> Network:
    path = find(record.name)
    if path is None:
        log.info("%s is not at hand and is fetched.", record.name)
        path = fetch_with_bar(record.name)
    if record.url is None:  # it changes with the project, which keeps its history
        return network_of(path, record)
    with unchanged(path, record.name):
        return network_of(path, record)


def locate(source: str | os.PathLike, among: Collection[str] = REGISTRY.keys()) -> Path:
    """The file that a user means by something that is no registered name. among: names to propose instead."""
    path = Path(source).expanduser()
    if path.is_file():
        return path
    by_hand = find(source) if isinstance(source, str) and Path(source).name == source else None
    if by_hand is None:
        raise unknown(os.fspath(source), among)
    return by_hand
