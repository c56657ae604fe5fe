"""From nothing to a served page."""

import logging
import os
import signal
import sys
import time

import gradio as gr
from gradio.queueing import Event, Queue

from demo.runs import models, turn
from demo.visit import studio
from xmem import checkpoints
from xmem.video.isolated import isolate

log = logging.getLogger("xmem.demo")


END_SECONDS = 8  # for runs to be left, and visitors to be told; whoever sends SIGTERM often waits ten


def start(host: str | None = None, port: int | None = None, share: bool = False) -> None:
    """Serve the page until interrupted. host, port: None for GRADIO_SERVER_NAME, GRADIO_SERVER_PORT or Gradio's own."""
    fetch_chosen_model()
    isolate()  # whatever visitors give
    spaces = studio.workspaces()
    os.environ.setdefault("GRADIO_TEMP_DIR", str(spaces.cache))
    from demo.page import build_demo  # Gradio looks at GRADIO_TEMP_DIR when components are made

    models.place()
    demo, options = build_demo()
    spaces.keep_sweeping()
    signal.signal(signal.SIGTERM, _leave)  # so that what is passing goes then, too
    try:
        demo.launch(server_name=host, server_port=port, share=share or None, prevent_thread_lock=True, **options)
        while True:  # not Gradio's own way to wait, which closes the server under its visitors
            time.sleep(1)
    except KeyboardInterrupt:
        log.info("Ending.")
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end(demo)
        spaces.close()


def _leave(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would end the ending
    sys.exit(0)


def _end(demo: gr.Blocks) -> None:
    """Runs are left where they are, to be gone on with, and their visitors are told; then the server ends."""
    until, queue = time.monotonic() + END_SECONDS, demo._queue
    going = [event for events in queue.active_jobs if events for event in events]
    if not turn.line().end(END_SECONDS):
        log.warning("A run did not end in time: it will go on from where it was saved last.")
    while any(_is_untold(queue, event) for event in going) and time.monotonic() < until:
        time.sleep(0.05)
    demo.close(verbose=False)


def _is_untold(queue: Queue, event: Event) -> bool:
    """Whether somebody still listens for an event's last words: an event that is over has yet to be told."""
    return event.alive and event._id in queue.pending_event_ids_session.get(event.session_hash, ())


def fetch_chosen_model() -> None:
    """Fetch what XMEM_MODEL names, as a Space with a GPU wants; where that fails, go on with the embedded one."""
    *_, chosen = checkpoints.fetch_or_embedded(checkpoints.default_model(), show_bar=True)
    if chosen.note:
        os.environ.pop("XMEM_MODEL")
