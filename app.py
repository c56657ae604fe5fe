"""Start the demo: `python app.py`, then open the address that it prints."""

import argparse
import logging
import os

from demo.start import start


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="XMem in the browser: paint an object once, follow it through a video."
    )
    parser.add_argument("--host", help="address to listen on (default: GRADIO_SERVER_NAME, else this machine only)")
    parser.add_argument(
        "--port", type=int, help="port to listen on (default: GRADIO_SERVER_PORT, else the first free from 7860)"
    )
    parser.add_argument("--share", action="store_true", help="ask Gradio for a public address as well")
    parser.add_argument("--model", help="checkpoint to begin with, fetched first if needed (default: XMEM_MODEL)")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if options.model:
        os.environ["XMEM_MODEL"] = options.model
    start(host=options.host, port=options.port, share=options.share)


if __name__ == "__main__":
    main()
