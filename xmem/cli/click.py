"""`click`: a mask from clicks on an image, or from words."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from xmem.checkpoints.catalogue import CLICK
from xmem.click import NAMES, Clicker, Words
from xmem.device import DEVICES
from xmem.errors import InputError
from xmem.render.masks import write_index_mask
from xmem.video.stills import read_still

HELP = "make a mask from clicks on an image, or from words"
DESCRIPTION = (
    "Make the mask of an object from clicks, a box around it, or words for it: a palette PNG that `segment` takes."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", type=Path, help="the picture: PNG, JPEG, WebP or BMP")
    for flag, name, text in (
        ("--at", "at", "a click on the object, in pixels; may be given several times"),
        ("--not", "away", "a click on what is not of the object; so may this"),
    ):
        parser.add_argument(flag, dest=name, type=_numbers(2), action="append", default=[], metavar="X,Y", help=text)
    box = "the object lies within: left, top, right, bottom, in pixels"
    parser.add_argument("--box", type=_numbers(4), metavar="X,Y,X,Y", help=box)
    words = "what the object is, in English (by the extra 'helpers'); clicks and a box correct what is found"
    parser.add_argument("--words", metavar="WORDS", help=words)
    parser.add_argument("--output", metavar="MASK.png", type=Path, required=True, help="the mask: 0 and 1")
    model = f"click network: {', '.join(NAMES)}, or a path (default: %(default)s)"
    parser.add_argument("--model", metavar="NAME|PATH", default=CLICK, help=model)
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where to run (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """`click`: writes the mask, and says how much of the image it is."""
    image = read_still(args.image, f"The image {args.image.name!r}", "choose another one", upright=True)
    held = Clicker(args.model, args.device).image(np.asarray(image.convert("RGB")))
    clicks = [(x, y, True) for x, y in args.at] + [(x, y, False) for x, y in args.away]
    mask = Words(device=args.device).mask(held, args.words) if args.words is not None else None
    if clicks or args.box or mask is None:
        mask = held.mask(clicks, args.box, mask)
    if not mask.any():
        raise InputError("Nothing was found there: click in the middle of the object, or give a box.")
    write_index_mask(args.output, mask.astype(np.uint8))
    print(f"{args.output}: {100 * mask.mean():.1f} % of the image")
    return 0


def _numbers(count: int) -> Callable[[str], tuple[float, ...]]:
    def numbers(text: str) -> tuple[float, ...]:
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            values = ()
        if len(values) != count:
            raise argparse.ArgumentTypeError(f"'{text}' is not {count} numbers with commas between them")
        return values

    return numbers
