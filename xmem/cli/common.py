"""What commands share: the options of the engine, the network that they name, a progress bar."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import fields

from tqdm import tqdm

from xmem import checkpoints
from xmem.config import MemoryConfig
from xmem.device import DEVICES, PRECISIONS, describe_device
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
    memory = parser.add_argument_group("memory settings, with the paper's symbols")
    for setting in fields(MemoryConfig):
        flag, text = "--" + setting.name.replace("_", "-"), f"{MEMORY_HELP[setting.name]} (default: %(default)s)"
        if isinstance(setting.default, bool):
            memory.add_argument(flag, action=argparse.BooleanOptionalAction, default=setting.default, help=text)
        else:
            memory.add_argument(flag, type=int, default=setting.default, metavar="N", help=text)


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


def memory_config(args: argparse.Namespace) -> MemoryConfig:
    """The memory settings among parsed arguments. Raises InputError for a combination that cannot work."""
    return MemoryConfig(**{setting.name: getattr(args, setting.name) for setting in fields(MemoryConfig)})


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
