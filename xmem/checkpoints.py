"""Which checkpoints exist, and how one is found, fetched, verified and loaded.

Checkpoints lie in `checkpoints/` of the project, or in the folder that the environment variable XMEM_CHECKPOINTS names;
XMEM_MODEL names the checkpoint that is used where none is chosen (and that a demo fetches at its start).
Of a released checkpoint the SHA-256 is kept beside it from its first fetch or use on (`XMem.pth.sha256`, as
`sha256sum -c` reads it), and a file that differs from it is refused. No loading ever executes code from a file.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import os
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from xmem.device import choose_precision, describe_device, select_device
from xmem.download import FetchProgress, download, hold, release
from xmem.errors import InputError
from xmem.network import XMem, fold_batch_norm, load_state, use_packed, use_winograd

__all__ = [
    "EMBEDDED",
    "HELD_BACK",
    "REGISTRY",
    "Checkpoint",
    "FetchProgress",
    "accept",
    "default_model",
    "describe_device",
    "fetch",
    "fetch_with_bar",
    "find",
    "folder",
    "load_model",
    "own_files",
    "read_state",
    "select_device",
]

log = logging.getLogger("xmem")

EMBEDDED = "xmem-lite"
PROJECT_FOLDER = Path(__file__).resolve().parent.parent / "checkpoints"
SUFFIXES = (".safetensors", ".pth", ".pt")
RELEASES = "https://github.com/hkchengrex/XMem/releases/download/v1.0/"
SOURCE = "https://github.com/hkchengrex/XMem"
PAPER = "https://arxiv.org/abs/2207.07115"


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a checkpoint without opening it.

    name: by which users choose it; file_name: in the checkpoint folder.
    url: where it is fetched from; None for the embedded one, which comes with the project.
    size_bytes: of the file, None where not known for certain; parameters: weights that training learned.
    encoder: family of its encoders, as `xmem.network.ModelSizes.encoder` says it.
    figures: J&F (YouTube-VOS: its own mean G) by data set, in percent; published, but for HELD_BACK, which is measured
        by `xmem evaluate` on five clips of another split (see the model card) and cannot be put beside the others.
    """

    name: str
    file_name: str
    url: str | None
    size_bytes: int | None
    parameters: int | None
    encoder: str
    licence: str
    source: str
    paper: str
    description: str
    figures: Mapping[str, float] = field(default_factory=dict)


def _released(
    name: str, description: str, figures: Mapping[str, float], parameters: int = 62_185_224, size: int | None = None
) -> Checkpoint:
    file_name = f"{name}.pth"
    return Checkpoint(
        name, file_name, RELEASES + file_name, size, parameters, "resnet", "MIT", SOURCE, PAPER, description, figures
    )


HELD_BACK = "five held-back DAVIS 2016 training clips, 384 px"
D16, D17, YV18, LONG = "DAVIS 2016 val", "DAVIS 2017 val", "YouTube-VOS 2018 val", "Long-time Video"

REGISTRY: dict[str, Checkpoint] = {
    checkpoint.name: checkpoint
    for checkpoint in (
        Checkpoint(
            EMBEDDED,
            "xmem-lite.safetensors",
            None,
            None,
            2_575_014,
            "lite",
            "see its model card: non-commercial use",
            "this project",
            PAPER,
            "small, comes with the project; quick on a CPU, and less accurate",
            {HELD_BACK: 80.4},
        ),
        _released(
            "XMem",
            "the paper's default: still images, then DAVIS and YouTube-VOS",
            {D16: 91.5, D17: 86.2, YV18: 85.7, LONG: 89.8},
            size=249_026_057,
        ),
        _released(
            "XMem-s012", "trained on the synthetic BL30K as well: the most accurate", {D16: 92.0, D17: 87.7, YV18: 86.1}
        ),
        _released("XMem-s2", "trained on videos only, for reference", {D16: 90.8, D17: 84.5, YV18: 84.3}),
        _released(
            "XMem-no-sensory",
            "without sensory memory, for frames that do not follow each other in space",
            {D17: 85.1, YV18: 84.4},
            parameters=59_783_560,
        ),
    )
}


def folder() -> Path:
    """The folder that keeps checkpoints: XMEM_CHECKPOINTS, or `checkpoints/` of the project."""
    chosen = os.environ.get("XMEM_CHECKPOINTS")
    return Path(chosen).expanduser() if chosen else PROJECT_FOLDER


def default_model() -> str:
    """The checkpoint to use where the user chose none: XMEM_MODEL, or the embedded one."""
    return os.environ.get("XMEM_MODEL") or EMBEDDED


def find(name: str) -> Path | None:
    """The file of the checkpoint `name`, None where it is not at hand.

    A registered name stands for its own file; any other for a file that was put into the folder by hand, with or
    without its suffix ("mine" finds mine.safetensors). Raises InputError for a name that could leave the folder.
    """
    if Path(name).name != name:
        raise InputError(f"'{name}' is not the name of a checkpoint: give a name without folders.")
    if name in REGISTRY:
        record = REGISTRY[name]
        folders = [folder()] if record.url else [folder(), PROJECT_FOLDER]
        candidates = [place / record.file_name for place in folders]
    else:
        candidates = [folder() / (name + suffix) for suffix in ("", *SUFFIXES) if (name + suffix).endswith(SUFFIXES)]
    return next((path for path in candidates if path.is_file()), None)


def own_files() -> list[Path]:
    """Checkpoint files that were put into the folder and are no registered ones, by name."""
    registered = {record.file_name for record in REGISTRY.values()}
    files = sorted(folder().glob("*")) if folder().is_dir() else []
    return [path for path in files if path.suffix in SUFFIXES and path.name not in registered]


def fetch(name: str, url: str | None = None) -> Iterator[FetchProgress]:
    """Bring the released checkpoint `name` into the folder, verified; a no-op where it is there already.

    Streams into `<file>.part`, resumes an earlier attempt, and gives the file its place only once its length,
    and then names, shapes and finiteness of all its tensors, are right. Closing the iterator stops; what has arrived
    is kept for the next attempt. Several processes may fetch at once: one does, the others wait and see its progress.
    url: another address of the same file. Raises InputError with one sentence per way to fail.
    """
    record = REGISTRY.get(name)
    if record is None:
        raise _unknown(name)
    address = url or record.url
    if address is None:
        raise InputError(f"{name} comes with the project and is not fetched: restore it with 'git checkout'.")
    place = folder() / record.file_name
    if place.is_file():
        size = place.stat().st_size
        yield FetchProgress(size, size)
        return
    part = place.with_name(place.name + ".part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle = yield from hold(part)
    except OSError as error:
        raise InputError(f"{name} cannot be kept in {place.parent} ({error.strerror}).") from error
    try:
        if place.is_file():  # another process brought it while this one waited
            yield FetchProgress(place.stat().st_size, place.stat().st_size)
        else:
            yield from download(address, handle, name)
            _take_place(record, part, place)
    finally:
        release(part, handle)


def fetch_with_bar(name: str) -> Path:
    """`fetch` with a progress bar on standard error; returns the file."""
    steps = fetch(name)
    first = next(steps)  # where the attempt fails at once, no bar is drawn
    with tqdm(
        desc=f"fetching {name}", unit="B", unit_scale=True, total=first.total_bytes, initial=first.done_bytes
    ) as bar:
        for progress in steps:
            bar.total = progress.total_bytes
            bar.update(progress.done_bytes - bar.n)
    return find(name)


def _take_place(record: Checkpoint, part: Path, place: Path) -> None:
    """Verify a fetched file, note its hash and give it its place; a file that fails is thrown away."""
    digest = _sha256(part)
    try:
        _build(part, record)
    except InputError as error:
        part.unlink()
        raise InputError(f"What was fetched as {record.name} is not usable and was thrown away. {error}") from error
    known = _recorded_hash(place)
    if known not in (None, digest):
        part.unlink()
        raise InputError(
            f"The address of {record.name} serves another file than it did at first (SHA-256 {digest[:12]}… instead of "
            f"{known[:12]}…), so it was not taken: if you trust the new one, run 'python -m xmem models --accept "
            f"{record.name}' and fetch again."
        )
    _record_hash(place, digest)
    os.replace(part, place)


def accept(name: str) -> None:
    """Forget the hash recorded for the checkpoint `name`: its file, or its next fetch, is taken as it is then."""
    if name not in REGISTRY:
        raise _unknown(name)
    _hash_file(folder() / REGISTRY[name].file_name).unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _hash_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _recorded_hash(path: Path) -> str | None:
    try:
        return _hash_file(path).read_text().split()[0]
    except (FileNotFoundError, IndexError):
        return None


def _record_hash(path: Path, digest: str) -> None:
    try:
        _hash_file(path).write_text(f"{digest}  {path.name}\n")
    except OSError as error:  # a folder that is read-only cannot change either
        log.warning("The hash of %s cannot be recorded (%s).", path.name, error.strerror)


def read_state(path: str | os.PathLike) -> dict[str, Tensor]:
    """Names -> tensors of a checkpoint file, on the CPU: a safetensors file, or what torch.save made of a state dict.

    The content decides, not the name's ending. Nothing but tensors is ever unpickled (`weights_only`).
    Raises InputError for a file that is missing, truncated, a web page, or something else than named tensors.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(f"The checkpoint {path} cannot be read ({error.strerror}).") from error
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise InputError(f"{path.name} is a web page, not a checkpoint: fetch the file itself.")
    state = _read_safetensors(path) if head[8:9] == b"{" else _read_pickled(path, head)
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise InputError(f"{path.name} holds something else than a plain list of named tensors: save its state dict.")
    return dict(state)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
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


def load_model(
    source: str | os.PathLike | Mapping = EMBEDDED,
    device: str | torch.device = "auto",
    precision: str = "float32",
    winograd: bool = True,
) -> XMem:
    """The network of a checkpoint, ready for inference on `device` (batch norm folded into the convolutions).

    source: a name of the registry (fetched if it is not at hand), a name or path of a file, or a mapping of names to
    tensors; all sizes are read off the weights. device: see `select_device`, or a torch device. precision: see
    `choose_precision`; probabilities are float32 in any. winograd: compute large 3x3 convolutions with fewer products
    on a CPU in float32 (XMem: outputs within 1e-5, see `xmem.network.winograd`); False computes all of them directly.
    On a CPU, xmem-lite's weights are packed (see `xmem.network.packed`).
    Raises InputError for what cannot be found, fetched, or loaded as an XMem network.
    """
    place = device if isinstance(device, torch.device) else select_device(device)
    dtype = choose_precision(precision, place)  # before anything is fetched
    if isinstance(source, Mapping):
        model = load_state(source)
    elif isinstance(source, str) and source in REGISTRY:
        model = _load_registered(REGISTRY[source])
    else:
        model = _build(_locate(source))
    # Channels-last: about half the time for the lite encoders' depthwise convolutions on a CPU, no loss elsewhere.
    model = fold_batch_norm(model).to(place, dtype, memory_format=torch.channels_last)
    if place.type != "cpu":
        return model
    if winograd and dtype == torch.float32:
        use_winograd(model)
    return use_packed(model) if model.sizes.encoder == "lite" else model


def _load_registered(record: Checkpoint) -> XMem:
    path = find(record.name)
    if path is None:
        log.info("%s is not at hand and is fetched.", record.name)
        path = fetch_with_bar(record.name)
    if record.url is None:  # it changes with the project, which keeps its history
        return _build(path, record)
    digest, known = _sha256(path), _recorded_hash(path)
    if known not in (None, digest):
        raise InputError(
            f"{path} is not the file that was fetched or used at first (SHA-256 {digest[:12]}…, not {known[:12]}…): "
            f"delete it to fetch it again, or run 'python -m xmem models --accept {record.name}' if you replaced it."
        )
    model = _build(path, record)
    if known is None:
        _record_hash(path, digest)
    return model


def _build(path: Path, record: Checkpoint | None = None) -> XMem:
    """The network of a file; with a record, one whose encoders are of the record's kind."""
    state = read_state(path)
    try:
        model = load_state(state)
    except InputError as error:
        raise InputError(f"{path.name} cannot be loaded. {error}") from error
    if record is not None and model.sizes.encoder != record.encoder:
        raise InputError(f"{path.name} holds another network than {record.name}: give it a name of its own.")
    return model


def _locate(source: str | os.PathLike) -> Path:
    """The file that a user means by something that is no registered name."""
    path = Path(source).expanduser()
    if path.is_file():
        return path
    by_hand = find(source) if isinstance(source, str) and Path(source).name == source else None
    if by_hand is None:
        raise _unknown(os.fspath(source))
    return by_hand


def _unknown(name: str) -> InputError:
    close = difflib.get_close_matches(name, REGISTRY, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(REGISTRY)}, or the path of a file."
    return InputError(f"There is no checkpoint '{name}': {hint}")
