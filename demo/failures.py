"""What goes wrong, as a sentence: on the page where the visitor looks, and as Gradio's error for programs."""

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

import xmem
from demo.metrics import METRICS

UNEXPECTED = "Something went wrong inside the program, and it was logged; your work is still here."
MEMORY_FULL = "The GPU's memory is full: choose a smaller inference size in the settings and run again."

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
    return MEMORY_FULL if type(error).__name__ == "OutOfMemoryError" else UNEXPECTED


def _for_gradio(sentence: str, error: Exception, in_a_corner: bool = True) -> gr.Error:
    """in_a_corner: of the page; what is shown elsewhere on it is said once."""
    title = "Not yet" if isinstance(error, xmem.InputError) else "Error"
    return gr.Error(sentence, title=title, print_exception=False, visible=in_a_corner)
