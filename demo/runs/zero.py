"""A GPU that is lent by the call, to a forked process (ZeroGPU of Hugging Face's Spaces); SPACES_ZERO_GPU decides.

A visitor has a few minutes of it a day, and a call is refused that asks for more than is left, or ended where it takes
more than it asked for. So a run is made in slices, each of which goes on from the state that the one before saved.
Elsewhere nothing is lent: a run is one slice, in this process.
"""

import functools
import gc
import logging
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from demo.failures import as_values, raised
from xmem.errors import InputError

spaces = None  # the package may be installed anywhere, so that it says nothing
if os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true"):
    import spaces

    # The process that is forked has none of the threads of decoders that it inherits, and would wait for them for ever
    # if it freed one: what is garbage goes before the fork, and what is not is never looked at behind it.
    os.register_at_fork(before=gc.collect, after_in_child=gc.freeze)

SLICE_SECONDS = 45  # of work at most; with what follows 60 s are asked for
START_SECONDS = 15  # asked for beside the work: the process, the network onto the GPU, the state written
SHORTEST_SECONDS = 5  # of work that is worth a call
COUNTED = 1.5  # times what is asked for is what today's cards count of a visitor's share
FRAMES_PER_SECOND = 8  # a cautious guess, before anything was measured
SHARES = "2 minutes a day without an account at Hugging Face, 5 with one, 40 with PRO"

_LEFT = re.compile(r"\((\d+)s requested vs\. (-?\d+)s left\)")
_WAIT = re.compile(r"Try again in ([\d:]+|\d+ days?, [\d:]+)")
_KEPT = "What is done is kept, and the next run goes on there."
_REFUSALS = {  # by the titles that `spaces` gives its errors
    "ZeroGPU illegal duration": "More GPU time was asked for than this Space lends at once: trim the video.",
    "ZeroGPU queue timeout": f"No GPU was free within a minute: try again. {_KEPT}",
    "ZeroGPU client error": f"No GPU is free: try again in a while. {_KEPT}",
    "ZeroGPU worker error": f"The GPU was taken back before this part was done: run again. {_KEPT}",
    "ZeroGPU pending credits exceeded": f"Other work of yours holds your share of GPU time: wait for it. {_KEPT}",
}
_NO_ANSWER = f"No GPU was lent, since the Space's service for that did not answer: try again in a while. {_KEPT}"

log = logging.getLogger("xmem.demo")


class Refused(InputError):
    """No GPU was lent, or it was taken back. left, asked: seconds of the visitor's share, where the refusal told."""

    def __init__(self, sentence: str, left: int | None = None, asked: int | None = None) -> None:
        super().__init__(sentence)
        self.left, self.asked = left, asked

    def shorter(self, seconds: float) -> float | None:
        """How much work of a call for `seconds` of it fits into what is left; None where none does."""
        if not self.asked or self.left is None:
            return None
        fitting = math.floor((seconds + START_SECONDS) * self.left / self.asked) - START_SECONDS
        return fitting if SHORTEST_SECONDS <= fitting < seconds else None


def is_lent() -> bool:
    """Whether the GPU is lent by the call."""
    return spaces is not None


def slice_seconds(expected: float) -> float:
    """Of work that the next slice may take, where about `expected` seconds of it are to do; without end elsewhere."""
    if not is_lent():
        return math.inf
    return min(SLICE_SECONDS, max(SHORTEST_SECONDS, math.ceil(1.25 * expected)))


def counted(expected: float) -> int:
    """Seconds of a visitor's share that about `expected` seconds of work count, in all slices."""
    return math.ceil(COUNTED * (expected + START_SECONDS * math.ceil(expected / SLICE_SECONDS)))


def on_gpu(work_seconds: Callable[..., float]) -> Callable[[Callable[..., Iterator]], Callable[..., Iterator]]:
    """A decorator for generators: they run where the GPU is, perhaps in another process.

    work_seconds: of the work, from the same arguments. What is given and yielded is pickled: paths, numbers, bytes.
    Raises InputError as the generator does, `Refused` where no GPU was had, and `Logged`.
    """

    def decorate(work: Callable[..., Iterator]) -> Callable[..., Iterator]:
        if spaces is None:
            return work

        @functools.wraps(work)
        def in_worker(*arguments: Any) -> Iterator[Any]:
            yield from as_values(work(*arguments))

        def asked(*arguments: Any) -> int:
            return math.ceil(work_seconds(*arguments)) + START_SECONDS

        lent = spaces.GPU(duration=asked)(in_worker)

        @functools.wraps(work)
        def on_page(*arguments: Any) -> Iterator[Any]:
            with closing(lent(*arguments)) as items:
                while True:
                    try:
                        item = next(items)
                    except StopIteration:
                        return
                    except Exception as error:  # what the work itself raises comes as a value
                        raise _refusal(error) from error
                    yield raised(item)

        return on_page

    return decorate


def _refusal(error: Exception) -> Refused:
    """Why there is no GPU, in plain words."""
    said = str(getattr(error, "message", error))
    log.warning("No GPU was lent, or it was taken back: %s", said)
    title = getattr(error, "title", "")
    if title != "ZeroGPU quota exceeded":
        return Refused(_REFUSALS.get(title, _NO_ANSWER))
    figures, wait = _LEFT.search(said), _WAIT.search(said)
    when = f"in {wait[1]} (hours, minutes, seconds)" if wait else "later"
    if figures is None:
        return Refused(f"The GPU time that Hugging Face lends is used up ({SHARES}): try again {when}. {_KEPT}")
    asked, left = int(figures[1]), int(figures[2])
    sentence = (
        f"Of your share of GPU time ({SHARES}) {max(left, 0)} s are left, and the next part takes up to {asked} s: "
        f"try again {when}, or sign in. {_KEPT}"
    )
    return Refused(sentence, left, asked)
