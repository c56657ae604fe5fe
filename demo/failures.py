"""What goes wrong, as a sentence: on the page where the visitor looks, and as Gradio's error for programs."""

import errno
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr

import xmem
from demo.metrics import METRICS
from xmem.device import is_out_of_memory

UNEXPECTED = "Something went wrong inside the program, and it was logged; your work is still here."
MEMORY_FULL = "The memory is full: what is done is kept; choose a smaller inference size in the settings and run again."
DISK_FULL = "The server's disk is full: what was done before is kept; try again later."
READ_ONLY = "The server may not write where it keeps its files: what was done before is kept; tell whoever runs it."
BUSY = "The server has too much open at once: try again in a minute."
GONE = "The files of this work are gone, or part of them: begin with the video again."
UNREADABLE = "What was sent cannot be read: check the call."

log = logging.getLogger("xmem.demo")


class Logged(Exception):
    """Something that nobody foresaw, in the sentence for people; it was logged where it happened."""


def in_words(shown: Callable[..., Any] | None = None, raises: bool = True) -> Callable[[Callable], Callable]:
    """A decorator for events, functions and generators: what they raise becomes one sentence.

    shown: from that sentence and the event's arguments to what the page shows, its outputs, which a generator yields
    then. raises: whether `gr.Error` carries the sentence as well, to programs, and to a corner of the page where a
    generator shows nothing; without it, outputs of `shown` are all that is seen.
    """

    def decorate(event: Callable) -> Callable:
        if inspect.isgeneratorfunction(event):

            @functools.wraps(event)
            def steps(*args: Any, **named: Any) -> Iterator[Any]:
                try:
                    yield from event(*args, **named)
                    return
                except gr.Error:
                    raise
                except Exception as error:
                    failure = error
                sentence = sentence_of(failure)
                if shown:
                    yield shown(sentence, *args, **named)
                if raises:
                    raise _for_gradio(sentence, failure, in_a_corner=not shown) from failure

            return steps

        @functools.wraps(event)
        def once(*args: Any, **named: Any) -> Any:
            try:
                return event(*args, **named)
            except gr.Error:
                raise
            except Exception as error:
                sentence = sentence_of(error)
                if raises:
                    raise _for_gradio(sentence, error) from error
                return shown(sentence, *args, **named)

        return once

    return decorate


def sentence_of(error: Exception) -> str:
    """What people are told; what nobody foresaw is logged."""
    if isinstance(error, xmem.InputError):
        METRICS.refused()
        return str(error)
    METRICS.failed()
    if isinstance(error, Logged):
        return str(error)
    log.error("An event of the page failed.", exc_info=error)
    return next((sentence for is_it, sentence in _FORESEEN if is_it(error)), UNEXPECTED)


@dataclass(frozen=True)
class Failure:
    """What went wrong in another process. is_users: whether the user can mend it; else it was logged there."""

    sentence: str
    is_users: bool


def as_values(items: Generator[Any, None, Any]) -> Iterator[Any]:
    """What a generator yields, and last a Failure in place of what it raises, of which little would cross to another
    process."""
    with closing(items):
        try:
            yield from items
        except Exception as error:
            yield Failure(sentence_of(error), isinstance(error, xmem.InputError))


def raised(item: Any) -> Any:
    """The item, unless it is a Failure. Raises InputError and `Logged`."""
    if isinstance(item, Failure):
        raise xmem.InputError(item.sentence) if item.is_users else Logged(item.sentence)
    return item


def _is_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_out_of_memory(error))


def _errno_in(*numbers: int) -> Callable[[Exception], bool]:
    return lambda error: isinstance(error, OSError) and error.errno in numbers


_FORESEEN = (
    (_is_memory, MEMORY_FULL),
    (_errno_in(errno.ENOSPC, errno.EDQUOT, errno.EFBIG), DISK_FULL),
    (_errno_in(errno.EROFS, errno.EACCES, errno.EPERM), READ_ONLY),
    (_errno_in(errno.EMFILE, errno.ENFILE), BUSY),
    (_errno_in(errno.ENOENT, errno.ENOTDIR), GONE),
)


def _for_gradio(sentence: str, error: Exception, in_a_corner: bool = True) -> gr.Error:
    """in_a_corner: of the page; what is shown elsewhere on it is said once."""
    title = "Not yet" if isinstance(error, xmem.InputError) else "Error"
    return gr.Error(sentence, title=title, print_exception=False, visible=in_a_corner)


def everywhere(page: gr.Blocks) -> None:
    """Have every event of a page answer in words, also where Gradio itself cannot read what was sent, or cannot keep
    what is answered; without them, programs get an error that is null."""
    for event in page.fns.values():
        if event.fn is not None:
            event.fn = in_words()(event.fn)
    page.preprocess_data = _worded(page.preprocess_data, UNREADABLE)
    page.postprocess_data = _worded(page.postprocess_data)


def _worded(step: Callable[..., Awaitable[Any]], otherwise: str | None = None) -> Callable[..., Awaitable[Any]]:
    """otherwise: what to say where nothing better is known; None: what `sentence_of` says."""

    @functools.wraps(step)
    async def worded(*args: Any, **named: Any) -> Any:
        try:
            return await step(*args, **named)
        except gr.Error as error:
            error.print_exception = False  # what the visitor sent is none of the log's business
            raise
        except Exception as error:
            sentence = otherwise if otherwise and not isinstance(error, OSError) else sentence_of(error)
            raise _for_gradio(sentence, error) from error

    return worded
