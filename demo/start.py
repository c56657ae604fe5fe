"""From nothing to a served page."""

import os
import signal
import sys

from demo.visit import studio
from xmem import checkpoints


def start(host: str | None = None, port: int | None = None, share: bool = False) -> None:
    """Serve the page until interrupted. host, port: None for GRADIO_SERVER_NAME, GRADIO_SERVER_PORT or Gradio's own."""
    fetch_chosen_model()
    spaces = studio.workspaces()
    os.environ.setdefault("GRADIO_TEMP_DIR", str(spaces.cache))
    from demo.page import build_demo  # Gradio looks at GRADIO_TEMP_DIR when components are made

    demo, options = build_demo()
    spaces.keep_sweeping()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that what is passing goes then, too
    try:
        demo.launch(server_name=host, server_port=port, share=share or None, **options)
    finally:
        spaces.close()


def fetch_chosen_model() -> None:
    """Fetch what XMEM_MODEL names, as a Space with a GPU wants; where that fails, go on with the embedded one."""
    *_, chosen = checkpoints.fetch_or_embedded(checkpoints.default_model(), show_bar=True)
    if chosen.note:
        os.environ.pop("XMEM_MODEL")
