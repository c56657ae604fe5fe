"""What a worker does in a test: a slice that saves each frame, and stands still at one until somebody has seen it."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from demo.html.progress import Progress
from demo.runs import run, workers
from xmem.session import suspended

PID, GATE, SEEN_AT = "pid", "go on", 3


@workers.by_worker
def gated_slice(folder: str, *arguments) -> Iterator[Progress]:
    suspended.SAVE_SECONDS = 0.0
    beside = Path(folder).parent
    (beside / PID).write_text(str(os.getpid()))
    for step in run._slice(folder, *arguments):
        yield step
        while step.done == SEEN_AT and not (beside / GATE).exists():
            time.sleep(0.01)
