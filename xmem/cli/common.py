"""What commands share: the options of the engine, the network that they name, a progress bar."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import fields
from typing import Any

from tqdm import tqdm

from xmem import checkpoints
from xmem.config import MemoryConfig
from xmem.device import DEVICES, PRECISIONS, describe_device
from xmem.errors import InputError
from xmem.families import family_of
from xmem.networks import Network

log = logging.getLogger("xmem")

BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"
MEMORY_HELP = {
    "mem_every": "r: frames between memory frames",
    "deep_update_every": "frames between deep updates of the sensory memory; negative: on every memory frame",
    "top_k": "k: memory elements that each position reads",
    "long_term": "consolidate old working memory; without it, memory grows with the video",
    "min_working_frames": "T_min: memory frames that stay at a consolidation",
    "max_working_frames": "T_max: memory frames at which a consolidation happens",
    "prototypes": "P: elements that a consolidation adds to long-term memory",
    "max_long_term": "LT_max: elements that long-term memory may hold",
    "sensory": "use the sensory memory of the network; without it, it stays zero",
}


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Options of the network and its memories."""
    parser.add_argument(
        "--model",
        metavar="NAME|PATH",
        default=checkpoints.default_model(),
        help="checkpoint, fetched if it is not at hand (default: XMEM_MODEL of the environment, now %(default)s)",
    )
    parser.add_argument(
        "--size",
        type=_size,
        default=480,
        metavar="PIXELS",
        help="shorter side at which the network runs, or 'own' for the video's own (default: %(default)s)",
    )
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where to run (default: %(default)s)")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="numbers the network computes with; auto: float16 on CUDA, bfloat16 on a CPU that computes it natively, "
        "else float32, which is exact (default: %(default)s)",
    )
    memory = parser.add_argument_group(
        "memory settings", "with the paper's symbols; defaults are XMem's, another family has its own and may lack some"
    )
    for setting in fields(MemoryConfig):  # None: not chosen
        flag, text = _flag(setting.name), f"{MEMORY_HELP[setting.name]} (default: {setting.default})"
        if isinstance(setting.default, bool):
            memory.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            memory.add_argument(flag, type=int, metavar="N", help=text)


def _flag(setting: str) -> str:
    return "--" + setting.replace("_", "-")


def _size(text: str) -> int | None:
    if text == "own":
        return None
    try:
        size = int(text)
    except ValueError:
        size = 0
    if size < 16:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of pixels of at least 16, nor 'own'")
    return size


def memory_config(args: argparse.Namespace, model: Network) -> Any:
    """The settings of the network's family, with the memory settings among parsed arguments.

    Raises InputError for one that the family lacks, and for a combination that cannot work.
    """
    family = family_of(model)
    known = {setting.name for setting in fields(family.config)}
    chosen = {setting.name: getattr(args, setting.name) for setting in fields(MemoryConfig)}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    for name in chosen.keys() - known:
        raise InputError(f"{family.title} has no setting {_flag(name)}: leave it out.")
    return family.config(**chosen)


def load(args: argparse.Namespace) -> Network:
    """The network that parsed arguments name."""
    model = checkpoints.load_model(args.model, args.device, args.precision)
    log.info("%s on %s", args.model, describe_device(model.device))
    return model


def progress_bar(what: str, total: int | None) -> tqdm:
    """A bar of frames on standard error."""
    quick = sys.stderr.isatty()  # a log file is spared
    return tqdm(
        desc=what, total=total, unit=" frames", bar_format=BAR, mininterval=0.2 if quick else 5.0, file=sys.stderr
    )
