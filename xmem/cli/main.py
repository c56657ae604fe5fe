"""The command line: what its words mean, and how it ends.

Exit status: 0 done, 1 failed (one sentence on standard error), 2 wrong usage, 130 or 143 stopped by Ctrl-C or SIGTERM.
Results go to standard output, progress and messages to standard error.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from tqdm import tqdm

import xmem
from xmem.device import is_out_of_memory
from xmem.errors import InputError

COMMANDS = (  # files here
    *("segment", "clips", "click", "evaluate", "evaluate-clicks", "benchmark", "models", "train", "demo"),
)
LATER = {  # those whose needs are their own
    "train": "train a network like xmem-lite",
    "evaluate-clicks": "score the click network on held-back objects",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status. Wrong usage leaves through argparse, with status 2."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    _log_to_stderr()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        args = _parser(arguments[0] if arguments else "").parse_args(arguments)
        return args.run(args)
    except KeyboardInterrupt:
        return _fail("interrupted", 128 + signal.SIGINT)
    except InputError as error:
        return _fail(str(error), 1)
    except BrokenPipeError:  # the reader of our output left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:  # the disk is full, a folder is read-only, ...
        return _fail(f"{error.filename or 'writing'}: {error.strerror or error}", 1)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return _fail("The device's memory is full: choose a smaller --size or --max-working-frames.", 1)


def _fail(message: str, status: int) -> int:
    print(f"xmem: {message}", file=sys.stderr)
    return status


def _terminate(number: int, _frame: object) -> None:
    _fail("terminated", 0)
    sys.exit(128 + number)


class _BesideBar(logging.Handler):
    """Messages on standard error that do not tear a progress bar apart."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(f"xmem: {self.format(record)}", file=sys.stderr)


def _log_to_stderr() -> None:
    logger = logging.getLogger("xmem")
    logger.handlers = [_BesideBar()]
    logger.propagate = False
    logger.setLevel(logging.INFO)


def _parser(chosen: str) -> argparse.ArgumentParser:
    """chosen: the first word. Of LATER's only then more than a line is loaded."""
    parser = argparse.ArgumentParser(prog="xmem", description="Video object segmentation with the memories of XMem.")
    parser.add_argument("--version", action="version", version=f"xmem {xmem.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        if name in LATER and chosen != name:
            commands.add_parser(name, help=LATER[name])
            continue
        try:
            command = import_module(f"xmem.cli.{name.replace('-', '_')}")
        except ModuleNotFoundError as error:
            raise InputError(f"The command {name} is not installed here ({error.name} is missing).") from error
        own = commands.add_parser(name, help=command.HELP, description=command.DESCRIPTION)
        command.add_arguments(own)
        own.set_defaults(run=command.run)
    return parser
