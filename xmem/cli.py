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
from dataclasses import fields

from tqdm import tqdm

from xmem import checkpoints
from xmem.benchmark.cli import add_arguments as add_benchmark_arguments
from xmem.benchmark.cli import run as run_benchmark
from xmem.commands import run_evaluate, run_models, run_segment
from xmem.config import MemoryConfig
from xmem.device import DEVICES, PRECISIONS
from xmem.errors import InputError

PROGRAM = "python -m xmem"
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status. Wrong usage leaves through argparse, with status 2."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    _log_to_stderr()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        args = _parser(with_training=arguments[:1] == ["train"]).parse_args(arguments)
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
        if "out of memory" not in str(error).lower():
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


def _parser(with_training: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Video object segmentation with the memories of XMem.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_segment(commands)
    _add_evaluate(commands)
    _add_benchmark(commands)
    _add_models(commands)
    _add_train(commands, with_training)
    return parser


def _add_segment(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "segment",
        help="track given objects through a video",
        description="Track the objects of a mask through a video: writes DIR/overlay.mp4 and DIR/masks/*.png.",
    )
    parser.add_argument("input", metavar="INPUT", help="a video file, or a folder of images")
    parser.add_argument(
        "--mask",
        metavar="[FRAME:]MASK.png",
        action="append",
        required=True,
        help="index, grey, RGB or RGBA image of the objects on frame FRAME (counted from 0, and 0 if left out); "
        "may be given for several frames",
    )
    parser.add_argument("--output", metavar="DIR", required=True, help="folder for the results")
    parser.add_argument("--force", action="store_true", help="replace the results of an earlier run in DIR")
    _add_engine(parser)
    parser.set_defaults(run=run_segment)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="score a checkpoint on sequences with known masks",
        description="Score the tracking from each first mask: J, F and J&F in percent as DAVIS defines them, first and "
        "last frame left out; frames per second of the engine; peak memory.",
    )
    parser.add_argument(
        "root",
        metavar="ROOT",
        help="folder with frames/SEQUENCE/ and masks/SEQUENCE/, or with JPEGImages/480p/ and Annotations/480p/",
    )
    parser.add_argument("--sequences", metavar="NAME", nargs="+", help="only these sequences")
    parser.add_argument("--json", action="store_true", help="write the scores as JSON instead of a table")
    _add_engine(parser)
    parser.set_defaults(run=run_evaluate)


def _add_benchmark(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "benchmark",
        help="measure this machine: frames per second, memory, where the time goes",
        description="Measure speed and memory on this machine: a table on standard output, and in DIR benchmark.json "
        "and benchmark.png. Every row is kept as it is done.",
    )
    add_benchmark_arguments(parser)
    parser.set_defaults(run=run_benchmark)


def _add_models(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "models",
        help="list checkpoints and which are at hand",
        description="List the checkpoints, and which of them are at hand.",
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--fetch", metavar="NAME", help="fetch a released checkpoint and verify it")
    action.add_argument(
        "--accept", metavar="NAME", help="take a released checkpoint's file as it is now, though changed"
    )
    parser.set_defaults(run=run_models)


def _add_train(commands: argparse._SubParsersAction, with_training: bool) -> None:
    """The options of training are its own; they are only loaded where they are wanted."""
    parser = commands.add_parser("train", help="train a network like xmem-lite")
    if not with_training:
        return
    try:
        from xmem.training import cli as training
    except ModuleNotFoundError as error:
        raise InputError(f"Training is not installed here ({error.name} is missing).") from error
    training.add_arguments(parser)
    parser.set_defaults(run=training.run)


def _add_engine(parser: argparse.ArgumentParser) -> None:
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
