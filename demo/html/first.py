"""A script of the page that runs before Gradio's own, which Gradio has no place for: its `head` comes after them."""

from collections.abc import Callable
from pathlib import Path

import gradio.routes
from jinja2 import BaseLoader, Environment

SCRIPT = Path(__file__).with_name("first.js").read_text(encoding="utf-8")


class _WithScript(BaseLoader):
    """Gradio's templates with the script at the top of what they begin with."""

    def __init__(self, plain: BaseLoader) -> None:
        self._plain = plain

    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, Callable[[], bool] | None]:
        source, path, is_current = self._plain.get_source(environment, template)
        return source.replace("<head>", f"<head><script>{SCRIPT}</script>", 1), path, is_current


def begin_with_script() -> None:
    """From now on, in this process."""
    environment = gradio.routes.templates.env
    if not isinstance(environment.loader, _WithScript):
        environment.loader = _WithScript(environment.loader)
