"""Start the demo: `python app.py`, or `xmem demo`; then open the address that it prints."""

import argparse
import os
import sys

from demo import log
from demo.metrics import METRICS
from demo.runs.workers import working
from demo.start import start
from xmem.cli.demo import DESCRIPTION, add_arguments
from xmem.errors import InputError
from xmem.limits import put


def serve(options: argparse.Namespace) -> None:
    log.begin(options.log)
    if options.metrics:
        METRICS.switch_on()
    put(os.environ, options.profile, options.limit)
    if options.model:
        os.environ["XMEM_MODEL"] = options.model
    with working(options.workers, options.cores):
        start(host=options.host, port=options.port, share=options.share)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    add_arguments(parser)
    try:
        serve(parser.parse_args())
    except InputError as error:
        sys.exit(f"xmem: {error}")
