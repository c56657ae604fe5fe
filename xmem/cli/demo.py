"""`demo`: the page is served on this machine.

The page is a program of its own, which knows the engine while the engine does not know it: it is run here as
`python app.py` would run it.
"""

from __future__ import annotations

import argparse
import runpy
import sys
from importlib.util import find_spec

from xmem.cli.common import add_workers
from xmem.errors import InputError
from xmem.limits import PROFILES
from xmem.resources import ROOT

HELP = "serve the page: paint an object, follow it, correct it, take it away"
DESCRIPTION = "XMem in the browser: paint an object once, follow it through a video."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `demo` and of app.py."""
    parser.add_argument("--host", help="address to listen on (default: GRADIO_SERVER_NAME, else this machine only)")
    parser.add_argument(
        "--port", type=int, help="port to listen on (default: GRADIO_SERVER_PORT, else the first free from 7860)"
    )
    parser.add_argument("--share", action="store_true", help="ask Gradio for a public address as well")
    parser.add_argument(
        "--profile",
        choices=list(PROFILES),
        help="limits for one's own machine, for strangers on two cores, or for strangers on a GPU (default: "
        "XMEM_PROFILE, else one's own machine, and on a Space that of its hardware)",
    )
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="one limit, such as upload_bytes=500000000; may be given again (see docs/limits.md)",
    )
    parser.add_argument("--log", choices=["text", "json"], default="text", help="form of the log (default: text)")
    parser.add_argument("--metrics", action="store_true", help="figures for Prometheus at /metrics (extra 'metrics')")
    add_workers(parser)
    parser.add_argument("--model", help="checkpoint to begin with, fetched first if needed (default: XMEM_MODEL)")


def run(args: argparse.Namespace) -> int:
    """`demo`: serve until interrupted. Raises InputError where Gradio is missing."""
    if find_spec("gradio") is None:
        raise InputError("The page needs Gradio: install this package with its extra 'demo' (pip install '.[demo]').")
    sys.path.insert(0, str(ROOT))  # as for any program that is started by its file
    runpy.run_path(str(ROOT / "app.py"))["serve"](args)
    return 0
