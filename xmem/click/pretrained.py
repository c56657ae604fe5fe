"""Networks of the library `transformers`, from folders: tensors and settings are read, and nothing in them is run.

The library comes with the extra "helpers", and is imported when it is needed, since that takes more than a second.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from xmem.checkpoints.catalogue import HELPERS
from xmem.checkpoints.store import fetch_with_bar, find, unchanged
from xmem.errors import InputError

INSTALL = "install this package with its extra 'helpers' (pip install '.[helpers]')"


def is_installed() -> bool:
    """Whether the extra is."""
    return find_spec("transformers") is not None


@dataclass(frozen=True)
class Kind:
    """A kind of network. names: that its settings go by; network, processor: classes of the library."""

    names: tuple[str, ...]
    network: str
    processor: str


def load(source: str | os.PathLike, kind: Kind, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """A network and what prepares its inputs, ready for inference.

    source: a name of `HELPERS` (fetched where it is not at hand), or a folder as `save_pretrained` writes it. Raises
    InputError without the extra, and for what cannot be had or is not whole.
    """
    record = HELPERS.get(os.fspath(source))
    what = record.name if record else f"The network in {os.fspath(source)!r}"
    if not is_installed():
        raise InputError(f"{what} needs the library transformers: {INSTALL}.")
    place = Path(source) if record is None else find(record.name) or fetch_with_bar(record.name)
    import transformers

    with ExitStack() as stack:
        for file in record.files if record else ():
            stack.enter_context(unchanged(place / file, what))
        stack.enter_context(_quiet(transformers.utils.logging))
        if (found_kind := _kind_in(place)) not in kind.names:
            raise InputError(f"{what} is no {kind.names[0]} ({found_kind}): choose another one.")
        try:
            model, found = getattr(transformers, kind.network).from_pretrained(
                place, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
            prepare = getattr(transformers, kind.processor).from_pretrained(place, local_files_only=True)
        except Exception as error:  # whatever the library raises for files that are not what they should be
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise InputError(
                f"{what} cannot be loaded from {place} ({reason}): put it there again, as it was released."
            ) from error
        if found["missing_keys"]:
            missing = sorted(found["missing_keys"])
            raise InputError(
                f"{what} cannot be loaded from {place}: it lacks {len(missing)} tensors, such as {missing[0]!r}."
            )
    return model.eval().requires_grad_(False).to(device, dtype), prepare


def _kind_in(place: Path) -> str:
    """How the network in a folder calls itself."""
    try:
        settings = json.loads((place / "config.json").read_text(encoding="utf-8"))
        return str(settings.get("model_type", "not said"))
    except (OSError, ValueError, AttributeError):
        return "nothing in it says what it is"


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """Without the library's progress bars and remarks, which are none of the user's business."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
