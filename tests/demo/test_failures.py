"""Whatever an event raises becomes one sentence, on the page and for programs."""

from types import SimpleNamespace

import gradio as gr
import pytest

from demo import failures
from demo.failures import UNEXPECTED, in_words
from xmem import InputError


def test_a_user_error_is_shown_and_raised():
    @in_words(lambda sentence, frame: f"{frame}: {sentence}")
    def steps(frame):
        yield "begun"
        raise InputError("Choose another frame.")

    found = steps(7)
    assert next(found) == "begun" and next(found) == "7: Choose another frame."
    with pytest.raises(gr.Error, match="Choose another frame"):
        next(found)


def test_an_event_that_must_answer_answers_with_the_sentence():
    @in_words(lambda sentence, *_: sentence, raises=False)
    def event(frame):
        raise InputError("Choose another frame.")

    assert event(7) == "Choose another frame."


def test_what_nobody_foresaw_is_logged_and_not_shown(caplog):
    @in_words()
    def event():
        raise ValueError("secret detail")

    with pytest.raises(gr.Error) as error:
        event()
    assert error.value.message == UNEXPECTED and "secret detail" in caplog.text


def test_closing_a_generator_is_no_failure():
    @in_words(lambda sentence: sentence)
    def steps():
        yield 1
        yield 2

    found = steps()
    next(found)
    found.close()
    assert list(found) == []


def test_what_gradio_itself_refuses_is_not_printed_with_what_the_visitor_sent():
    async def refuse() -> None:
        raise gr.Error("Value: 'a secret' is not in the list of choices.")

    page = SimpleNamespace(fns={}, preprocess_data=refuse, postprocess_data=refuse)
    failures.everywhere(page)
    with pytest.raises(gr.Error, match="a secret") as refused:
        page.preprocess_data().send(None)  # without a loop: Playwright's may be running in this thread
    assert not refused.value.print_exception
