"""Start the demo: `python app.py`, or `xmem demo`; then open the address that it prints."""

import argparse
import logging
import os

from demo.start import start
from xmem.cli.demo import DESCRIPTION, add_arguments


def serve(options: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if options.model:
        os.environ["XMEM_MODEL"] = options.model
    start(host=options.host, port=options.port, share=options.share)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    add_arguments(parser)
    serve(parser.parse_args())
