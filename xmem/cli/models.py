"""`models`: which checkpoints there are, one fetched, one accepted."""

from __future__ import annotations

import argparse

from xmem import checkpoints
from xmem.checkpoints.catalogue import CLICKERS, HELPERS
from xmem.checkpoints.download import megabytes
from xmem.checkpoints.store import size_at_hand

HELP = "list checkpoints and which are at hand"
DESCRIPTION = "List the checkpoints, and which of them are at hand."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--fetch", metavar="NAME", help="fetch a released checkpoint and verify it")
    action.add_argument(
        "--accept", metavar="NAME", help="take a released checkpoint's file as it is now, though changed"
    )


def run(args: argparse.Namespace) -> int:
    """`models`: the list of checkpoints, or one fetched, or one accepted as it is now."""
    if args.accept:
        checkpoints.accept(args.accept)
        print(f"The file of {args.accept} is taken as it is at its next use.")
    elif args.fetch:
        print(checkpoints.find(args.fetch) or checkpoints.fetch_with_bar(args.fetch))
    else:
        _list_models()
    return 0


def _list_models() -> None:
    print(f"{'name':<16} {'at hand':<8} {'size':>9} {'parameters':>11} {'DAVIS 2017':>11}  licence, description")
    for record in (*checkpoints.REGISTRY.values(), *CLICKERS.values(), *HELPERS.values()):
        path = checkpoints.find(record.name)
        size = size_at_hand(path) if path else record.size_bytes
        figure = record.figures.get("DAVIS 2017 val")
        print(
            f"{record.name:<16} {'yes' if path else 'no':<8} {megabytes(size) if size else '-':>9} "
            f"{f'{record.parameters / 1e6:.1f} M' if record.parameters else '-':>11} {figure or '-':>11}  "
            f"{record.licence}; {record.description}"
        )
    for path in checkpoints.own_files():
        print(f"{path.stem:<16} {'yes':<8} {megabytes(path.stat().st_size):>9} {'-':>11} {'-':>11}  your own file")
    print(f"DAVIS 2017: J&F on its validation split, as published. Files are kept in {checkpoints.folder()}")
