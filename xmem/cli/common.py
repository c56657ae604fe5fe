"""What commands share: the options of the engine, the network that they name, a progress bar."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from xmem import checkpoints
from xmem.device import DEVICES, PRECISIONS, describe_device
from xmem.errors import InputError
from xmem.families import FAMILIES, Setting, family_of
from xmem.networks import Network

log = logging.getLogger("xmem")

BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"


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
        "memory settings",
        "with the papers' symbols; each family has its own; defaults are as released where nothing else is said",
    )
    for name, owners in _settings().items():  # None: not chosen
        setting, text = next(iter(owners.values())), _help(name, owners)
        if setting.is_flag:
            memory.add_argument(_flag(name), action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            memory.add_argument(_flag(name), type=int, metavar="N", help=text)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Options of workers beside this process."""
    parser.add_argument(
        "--workers",
        metavar="N|ray",
        type=_workers,
        default=1,
        help="1: this process; more: so many workers of Ray (extra 'ray'), 'ray': as many as there is room for; of the "
        "cluster that RAY_ADDRESS names, else of this machine (default: %(default)s)",
    )
    parser.add_argument(
        "--cores", type=int, default=1, metavar="N", help="of each worker of Ray; a GPU is added where there are any"
    )


def _workers(text: str) -> int | None:
    if text == "ray":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of at least 1, nor 'ray'")
    return int(text)


def _settings() -> dict[str, dict[str, Setting]]:
    """Of all families: setting -> name of the family -> how it puts it."""
    found: dict[str, dict[str, Setting]] = {}
    for family in FAMILIES.values():
        for setting in family.settings:
            found.setdefault(setting.name, {})[family.name] = setting
    return found


def _help(name: str, owners: Mapping[str, Setting]) -> str:
    """What the first family says of it, and the default of each."""
    setting = next(iter(owners.values()))
    defaults = {FAMILIES[owner].title: getattr(FAMILIES[owner].config(), name) for owner in owners}
    said = ", ".join(f"{title} {setting.none if value is None else value}" for title, value in defaults.items())
    return f"{setting.label}{f'; {setting.note}' if setting.note else ''} (default: {said})"


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
    given = {name: getattr(args, name) for name in _settings()}
    chosen = {name: value for name, value in given.items() if value is not None}
    for name in chosen.keys() - {setting.name for setting in family.settings}:
        raise InputError(f"{family.title} has no setting {_flag(name)}: leave it out.")
    return family.config(**chosen)


def load(args: argparse.Namespace) -> Network:
    """The network that parsed arguments name."""
    model = checkpoints.load_model(args.model, args.device, args.precision)
    log.info("%s on %s", args.model, describe_device(model.device))
    return model


def progress_bar(what: str, total: int | None, unit: str = " frames") -> tqdm:
    """A bar on standard error."""
    quick = sys.stderr.isatty()  # a log file is spared
    return tqdm(desc=what, total=total, unit=unit, bar_format=BAR, mininterval=0.2 if quick else 5.0, file=sys.stderr)
