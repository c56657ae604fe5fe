"""From nothing to a served page."""

import logging
import os
import signal
import sys

import xmem
from demo.visit import studio
from xmem import checkpoints
from xmem.checkpoints import EMBEDDED, REGISTRY

log = logging.getLogger("xmem.demo")


def start(host: str | None = None, port: int | None = None, share: bool = False) -> None:
    """Serve the page until interrupted. host, port: None for GRADIO_SERVER_NAME, GRADIO_SERVER_PORT or Gradio's own."""
    fetch_chosen_model()
    spaces = studio.workspaces()
    os.environ.setdefault("GRADIO_TEMP_DIR", str(spaces.cache))
    from demo.page import build_demo  # Gradio looks at GRADIO_TEMP_DIR when components are made

    demo, options = build_demo()
    spaces.keep_sweeping()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the visitors' files go then, too
    try:
        demo.launch(server_name=host, server_port=port, share=share or None, **options)
    finally:
        spaces.close()


def fetch_chosen_model() -> None:
    """Fetch what XMEM_MODEL names, as a Space with a GPU wants; where that fails, go on with the embedded one."""
    name = checkpoints.default_model()
    if name not in REGISTRY or REGISTRY[name].url is None or checkpoints.find(name):
        return
    try:
        checkpoints.fetch_with_bar(name)
    except xmem.InputError as error:
        log.warning("%s The page goes on with %s.", error, EMBEDDED)
        os.environ.pop("XMEM_MODEL")
