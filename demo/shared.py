"""What the rooms of the page share: components that more than one step reads or writes."""

from dataclasses import dataclass

import gradio as gr
from gradio.components import Component


@dataclass(frozen=True)
class Shared:
    """Made once by `demo.ui`, handed to every `wire`.

    result_video: the rendered result. panel: the run's status, HTML of `demo.html.panels`. refreshed: counts up (its
    `.change` fires) after each finished run and each edit of key frames, objects, trim, post-processing or style.
    restyled: a counter like it; what changes how the result looks without a run puts a new value into it
    (`demo.events.paint.stamp()`), and the result video is rendered anew.
    model, device, size: of the settings; settings: all of them, in the order of `demo.runs.settings.read`.
    video_file: the download of the rendered result.
    looks: controls of opacity, growth, holes and specks, which follow the session that is opened.
    results, check, take: the blocks of the result video and of steps 4 and 5, hidden before there is a result.
    """

    result_video: gr.Video
    panel: gr.HTML
    refreshed: gr.State
    restyled: gr.State
    model: gr.Dropdown
    device: gr.Dropdown
    size: gr.Dropdown
    settings: list[Component]
    video_file: gr.DownloadButton
    looks: list[Component]
    results: gr.Column
    check: gr.Column
    take: gr.Column

    @property
    def rendered(self) -> list[Component]:
        """Outputs of `demo.runs.rendering.show`, which renders the result anew in the session's style."""
        return [self.panel, self.result_video, self.video_file]
