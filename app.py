"""Start the demo: `python app.py`, or `xmem demo`; then open the address that it prints."""

import argparse
import os

from demo import log
from demo.start import start
from xmem.cli.demo import DESCRIPTION, add_arguments


def serve(options: argparse.Namespace) -> None:
    log.begin()
    if options.model:
        os.environ["XMEM_MODEL"] = options.model
    start(host=options.host, port=options.port, share=options.share)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    add_arguments(parser)
    serve(parser.parse_args())
