"""What a visitor's page or program asks for, checked in one place before anybody works on it.

Programs call the endpoints with whatever they like; what the page limits holds for them as well.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import gradio as gr
from pydantic import ConfigDict, TypeAdapter, ValidationError

from demo.visit import studio
from xmem.errors import InputError

MAX_TEXT = 1000  # characters
MAX_POINTS = 10_000  # of a polygon
_FINITE = ConfigDict(allow_inf_nan=False, str_max_length=MAX_TEXT)
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a short text"}


def of_kind(endpoint: Callable) -> Callable:
    """A decorator for endpoints: arguments have to be of the kinds that its parameters name.

    null, infinity, texts and lists in place of a number are refused in a sentence that names the parameter.
    """
    hints = get_type_hints(endpoint)
    kinds = {
        name: (_form(hints[name]), _in_words(hints[name]))
        for name in inspect.signature(endpoint).parameters
        if name in hints and hints[name] not in (gr.Request, gr.Request | None)
    }
    signature = inspect.signature(endpoint)

    def checked(args: tuple, named: dict[str, Any]) -> dict[str, Any]:
        given = signature.bind(*args, **named).arguments
        return {name: _checked(name, value, *kinds[name]) if name in kinds else value for name, value in given.items()}

    if inspect.isgeneratorfunction(endpoint):

        @functools.wraps(endpoint)
        def steps(*args: Any, **named: Any) -> Iterator[Any]:
            yield from endpoint(**checked(args, named))

        return steps

    @functools.wraps(endpoint)
    def once(*args: Any, **named: Any) -> Any:
        return endpoint(**checked(args, named))

    return once


def uploaded(path: str | None, request: gr.Request | None) -> Path:
    """A file that this visitor handed over, or was handed: a regular file, never a folder or a link.

    Gradio has checked that it lies in its folder of uploads; there, a file belongs to the first visit that uses it.
    Raises InputError.
    """
    if not path:
        raise InputError("A file is missing: choose one, or hand one over with gradio_client.handle_file.")
    found = Path(path)
    if found.is_symlink() or not found.is_file():
        raise InputError("What was handed over is no file: choose it again.")
    if not studio.is_own(request, found):
        raise InputError("What was handed over is another visitor's: choose the file again.")
    return found


def whole(value: Any, name: str, lowest: int, highest: int) -> int:
    """A whole number within limits. Raises InputError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or value % 1:
        raise InputError(f"{name} must be a whole number from {lowest} to {highest}.")
    if not lowest <= value <= highest:
        raise InputError(f"{name} must be from {lowest} to {highest}, not {value:.10g}.")
    return int(value)


def _form(hint: Any) -> TypeAdapter:
    try:
        return TypeAdapter(hint, config=_FINITE)
    except Exception:  # a kind that has a configuration of its own
        return TypeAdapter(hint)


def _in_words(hint: Any) -> str:
    return _WORDS.get(hint, "of the kind that the documentation names")


def _checked(name: str, value: Any, form: TypeAdapter, kind: str) -> Any:
    try:
        found = form.validate_python(value)
    except (ValidationError, RecursionError) as error:
        raise InputError(f"{name} must be {kind}: check the call.") from error
    if isinstance(found, int) and abs(found) > 2**31:
        raise InputError(f"{name} is far beyond any that there is: check the call.")
    if isinstance(found, list) and len(found) > MAX_POINTS:
        raise InputError(f"{name} has {len(found)} entries, more than {MAX_POINTS}: check the call.")
    return found
