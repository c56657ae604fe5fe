"""Who may wait for what: a line of bounded length, in which nobody stands many times."""

from typing import Any

from gradio.queueing import Queue
from gradio.route_utils import get_fn

from demo.wiring import ESTIMATES, RENDERINGS, RUNS

WAITING = 100  # events of all visitors that may wait
# Of each visitor, waiting or going on. A rendering may be asked for while one goes on, which then makes room for it.
EACH = {RUNS["concurrency_id"]: 1, RENDERINGS["concurrency_id"]: 3, ESTIMATES["concurrency_id"]: 6}
SENTENCE = "A run or a file of yours is waiting or being made already: wait until it is done."


def bound(queue: Queue) -> None:
    """Have a page's queue refuse a visitor's events beyond EACH, before they wait."""
    push = queue.push

    async def push_few(body: Any, request: Any, username: str | None) -> tuple[bool, Any, str]:
        if body.fn_index is not None and is_too_much(queue, get_fn(queue.blocks, None, body), body.session_hash):
            return False, SENTENCE, "error"
        return await push(body=body, request=request, username=username)

    queue.push = push_few


def is_too_much(queue: Queue, function: Any, visitor: str | None) -> bool:
    """Whether the visitor has as many events of the function's line as one may have."""
    line = function.concurrency_id
    if line not in EACH or line not in queue.event_queue_per_concurrency_id:
        return False
    going = [event for events in queue.active_jobs if events for event in events]
    events = [*queue.event_queue_per_concurrency_id[line].queue, *going]
    own = [event for event in events if event.session_hash == visitor and event.concurrency_id == line]
    return len(own) >= EACH[line]
