"""What an event of the page has the browser do beside what it was made for."""

from demo.page import build_demo


def test_of_events_without_shown_progress_the_components_hear_nothing_but_their_news():
    """Gradio else redraws every output when the event begins, and again when it ends."""
    page, _ = build_demo()
    shown = {
        event.name: event.show_progress_on
        for event in page.fns.values()
        if event.api_visibility == "private" and event.show_progress == "hidden" and event.outputs
    }
    assert len(shown) > 20 and not [name for name, there in shown.items() if there != []]
