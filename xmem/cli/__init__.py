"""The command line: a file per command, with HELP, DESCRIPTION, `add_arguments(parser)` and `run(args)`."""

from xmem.cli.main import main

__all__ = ["main"]
