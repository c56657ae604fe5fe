"""How the page looks: system fonts (nothing is fetched), one accent, light and dark."""

from pathlib import Path

import gradio as gr

SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]

ACCENT = gr.themes.Color(
    c50="#eefbf7",
    c100="#d3f5ea",
    c200="#a8ead7",
    c300="#70d8be",
    c400="#3bbfa2",
    c500="#16a287",
    c600="#0c7f6b",
    c700="#0b6658",
    c800="#0d5147",
    c900="#0d433b",
    c950="#032622",
    name="accent",
)


def theme() -> gr.themes.Base:
    built = gr.themes.Base(
        primary_hue=ACCENT,
        secondary_hue=ACCENT,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_lg,
        font=SANS,
        font_mono=MONO,
    )
    return built.set(
        body_background_fill="#f6f5f2",
        body_background_fill_dark="#131211",
        block_background_fill="#ffffff",
        block_background_fill_dark="#1d1b1a",
        block_border_width="1px",
        block_border_color="#e4e1da",
        block_border_color_dark="#35322f",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        body_text_color_subdued="#615c55",
        body_text_color_subdued_dark="#aca59c",
        border_color_primary="#e4e1da",
        border_color_primary_dark="#35322f",
        input_background_fill="#ffffff",
        input_background_fill_dark="#262321",
        input_border_width="1px",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_500",
        button_primary_background_fill_hover_dark="*primary_400",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#04211c",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_hover="#f1efea",
        button_secondary_background_fill_dark="#262321",
        button_secondary_background_fill_hover_dark="#332f2c",
        button_secondary_border_color="#d6d2c9",
        button_secondary_border_color_dark="#45413d",
        button_cancel_background_fill="#fdeee9",
        button_cancel_background_fill_hover="#f9dcd3",
        button_cancel_background_fill_dark="#3a1c15",
        button_cancel_background_fill_hover_dark="#4d261d",
        button_cancel_border_color="#eec6ba",
        button_cancel_border_color_dark="#6b3427",
        button_cancel_text_color="#a8321c",
        button_cancel_text_color_dark="#ff9d87",
        button_large_radius="10px",
        button_large_text_weight="600",
    )


SHEETS = (
    "html/page.css",
    "stage/painter.css",
    "stage/check.css",
    "stage/recent.css",
    "stage/gallery.css",
    "runs/memory.css",
    "runs/models.css",
    "html/tabs.css",
)
CSS = "\n".join((Path(__file__).parents[1] / sheet).read_text(encoding="utf-8") for sheet in SHEETS)
