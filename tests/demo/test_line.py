"""The line in which runs and renderings wait: bounded, and nobody stands in it many times."""

import threading
from collections.abc import Iterator

import gradio as gr
import httpx
import pytest

from demo import line
from demo.page import build_demo
from demo.wiring import ESTIMATES, RENDERINGS, RUNS
from xmem.limits import limits


@pytest.fixture
def slow(monkeypatch) -> Iterator[tuple[str, threading.Event]]:
    """A page with events in each line, which go on until the event is set."""
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    done = threading.Event()

    def wait() -> int:
        done.wait(20)
        return 1

    with gr.Blocks(analytics_enabled=False) as page:
        gr.api(wait, api_name="run", **RUNS)
        gr.api(wait, api_name="render", **RENDERINGS)
        gr.api(wait, api_name="light")
    page.queue(max_size=12)
    line.bound(page._queue)
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield address, done
    done.set()
    page.close()


def join(address: str, function: int, visitor: str) -> httpx.Response:
    body = {"data": [], "fn_index": function, "session_hash": visitor}
    return httpx.post(f"{address}gradio_api/queue/join", json=body)


def test_of_a_visitor_one_run_waits_or_goes_on(slow):
    """Whoever asks for 500 gets 499 refusals, before anything waits; others are not held up."""
    address, _ = slow
    answers = [join(address, 0, "many") for _ in range(20)]
    assert [answer.status_code for answer in answers] == [200] + [400] * 19
    assert answers[1].json()["detail"] == line.SENTENCE
    assert [join(address, 1, "many").status_code for _ in range(4)] == [200] * 3 + [400]
    assert join(address, 2, "many").status_code == 200, "light events are nobody's run"
    assert join(address, 0, "other").status_code == 200


def test_after_a_run_the_next_one_may_come(slow):
    address, done = slow
    assert join(address, 0, "one").status_code == 200
    assert join(address, 0, "one").status_code == 400
    done.set()
    for _ in range(100):
        if join(address, 0, "one").status_code == 200:
            return
        threading.Event().wait(0.05)
    pytest.fail("the run is over, and still no other one may come")


def test_the_line_of_all_visitors_has_an_end(slow):
    address, _ = slow
    answers = [join(address, 1, f"visitor {number}").status_code for number in range(20)]
    assert answers.count(200) <= 14 and answers[-1] == 503


def test_estimates_do_not_time_each_other(monkeypatch):
    """After an upload two are asked for at once, by the clip and by what is new of it; beside another one, each would
    say twice the time."""
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    begun, done, together = threading.Semaphore(0), threading.Event(), []
    at_work = threading.Lock()

    def estimate() -> int:
        together.append(not at_work.acquire(blocking=False))
        begun.release()
        done.wait(20)
        if not together[-1]:
            at_work.release()
        return 1

    with gr.Blocks(analytics_enabled=False) as page:
        gr.api(estimate, api_name="clip", **ESTIMATES)
        gr.api(estimate, api_name="new", **ESTIMATES)
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    try:
        assert [join(address, function, "one").status_code for function in (0, 1)] == [200, 200]
        assert begun.acquire(timeout=20)
        assert not begun.acquire(timeout=1), "the second one waits"
        done.set()
        assert begun.acquire(timeout=20)
        assert together == [False, False]
    finally:
        done.set()
        page.close()


def test_the_page_has_such_a_line_and_no_door_beside_it(address):
    demo, options = build_demo()
    assert demo._queue.max_size == line.WAITING and demo._queue.push.__name__ == "push_few"
    assert options["max_file_size"] == limits().upload_bytes and options["enable_monitoring"] is False
    for name in ("propagate", "estimate", "track", "compare"):
        answer = httpx.post(f"{address}/gradio_api/run/{name}", json={"data": []})
        assert answer.status_code == 404, "past the queue"
    assert httpx.get(f"{address}/gradio_api/monitoring").status_code in (401, 403, 404)
    assert httpx.get(f"{address}/monitoring").status_code in (401, 403, 404)
