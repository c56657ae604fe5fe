"""How the page looks: system fonts (nothing is fetched), one accent, light and dark."""

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
        button_large_radius="10px",
        button_large_text_weight="600",
    )


CSS = """
.gradio-container { width: 100% !important; max-width: 1200px !important; margin: 0 auto !important;
  padding: 0 !important; --ink: #1c1a18; --soft: #6a655e; --line: #e4e1da; --panel: #ffffff;
  --accent: #0c7f6b; --accent-soft: #e2f4ef; --bad: #a8321c; --bad-soft: #fdeee9; }
.dark .gradio-container, .gradio-container.dark { --ink: #f3f0ea; --soft: #a8a199; --line: #35322f; --panel: #1d1b1a;
  --accent: #3bbfa2; --accent-soft: #12312b; --bad: #ff9d87; --bad-soft: #3a1c15; }
#masthead { padding: 0; }
.gradio-container .main.fillable { padding: clamp(16px, 2.4vw, 28px) clamp(12px, 2.4vw, 28px) 10px !important; }
.gradio-container .html-container { padding: 0; }
footer { opacity: .55; }

#masthead { align-items: end; justify-content: space-between; gap: 12px 24px; flex-wrap: wrap; }
#masthead > * { flex: 0 1 auto; width: auto; min-width: 0; }
.masthead h1 { font-size: 32px; line-height: 1.1; font-weight: 760; letter-spacing: -.035em; margin: 0; color: var(--ink); }
.masthead p { margin: 4px 0 0; color: var(--soft); font-size: 16px; }
.status { display: inline-flex; align-items: center; gap: 8px; margin: 0; padding: 6px 13px; border-radius: 99px;
  border: 1px solid var(--line); background: var(--panel); color: var(--soft); font-size: 13px; }
.status .dot { width: 8px; height: 8px; border-radius: 50%; background: var(--accent); }

.step { background: var(--panel); border: 1px solid var(--line); border-radius: 16px; padding: 20px 22px 22px !important;
  gap: 14px !important; }
.step .block { box-shadow: none; }
.step-head { display: flex; align-items: center; gap: 12px; flex-wrap: wrap; }
.step-number { flex: none; width: 28px; height: 28px; border-radius: 50%; display: grid; place-items: center;
  background: var(--accent-soft); color: var(--accent); font-weight: 700; font-size: 14px; }
.step-head h2 { font-size: 19px; font-weight: 680; letter-spacing: -.015em; margin: 0; color: var(--ink); }
.step-head p { margin: 0; color: var(--soft); font-size: 14.5px; }

.message { margin: 0; padding: 9px 13px; border-radius: 10px; font-size: 14px; line-height: 1.45; color: var(--soft);
  background: color-mix(in srgb, var(--soft) 9%, transparent); }
.message.good { color: var(--accent); background: var(--accent-soft); }
.message.bad { color: var(--bad); background: var(--bad-soft); font-weight: 550; }

#sample { min-height: 150px; height: 100%; padding: 14px 16px !important; border-radius: 14px; border: 1px solid var(--line);
  background-size: cover; background-position: 30% 40%; align-items: flex-end; justify-content: flex-start;
  color: #fff; font-size: 16px; font-weight: 650; text-shadow: 0 1px 3px rgba(0,0,0,.6); transition: filter .15s; }
#sample:hover { filter: brightness(1.08); }
#sample:focus-visible, .swatch:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }

#video button[aria-label^="Trim"], #video button[aria-label^="Reset"] { display: none; } /* they fetch a tool */
#video, #video .wrap { border-radius: 14px; }

.waiting { border: 1.5px dashed var(--line); border-radius: 12px; min-height: 120px; display: grid; place-items: center; }
.waiting p { margin: 0; color: var(--soft); font-size: 14.5px; }
#step-paint:has(#canvas) #paint-empty { display: none; }
#canvas-column { container-type: inline-size; }
#canvas { height: min(640px, calc(92cqw * var(--frame-ratio, .5625) + 112px)) !important; border-radius: 14px;
  background: color-mix(in srgb, var(--soft) 7%, var(--panel)); }
#canvas .image-container { border-radius: 13px; overflow: visible; }
#canvas .toolbar-wrap-wrap { display: none; } /* there is one layer */
#canvas .image-container > .toolbar-wrap { top: 8px; left: 8px; right: auto;
  bottom: auto; transform: none; flex-direction: row; gap: 6px; }
#canvas .toolbar-wrap, #canvas .toolbar-wrap .half-container { width: max-content !important; height: auto; margin: 0; }
#canvas .toolbar-wrap .half-container { flex-direction: row; padding: 2px; border-radius: 10px; gap: 0; }
#canvas .top-panel button[aria-label="Clear canvas"] { display: none; } /* it takes the frame as well: see Clear */
#canvas .toolbar-wrap .half-container button { width: 34px; height: 32px; }
#canvas .top-panel { top: 8px; right: 8px; height: 38px; padding: 2px 6px; gap: 2px; border-radius: 10px;
  border: 1px solid var(--line); }
#canvas .top-panel .icon-button { width: 26px; height: 30px; justify-content: center; }

.legend { display: grid; grid-template-columns: repeat(8, minmax(0, 1fr)); gap: 8px; }
.swatch { display: flex; align-items: center; justify-content: center; gap: 9px; margin: 0; min-height: 36px; padding: 0 10px; border-radius: 9px;
  border: 1px solid var(--line); background: transparent; color: var(--ink); font-size: 14px; cursor: pointer; }
.swatch i { flex: none; width: 16px; height: 16px; border-radius: 50%; background: var(--swatch);
  box-shadow: inset 0 0 0 1px rgba(0,0,0,.18); }
.swatch:hover { background: color-mix(in srgb, var(--swatch) 14%, transparent); }
.swatch[aria-pressed=true] { border-color: var(--swatch); box-shadow: inset 0 0 0 1px var(--swatch);
  background: color-mix(in srgb, var(--swatch) 16%, transparent); font-weight: 650; }

.understood p { margin: 0 0 10px; font-size: 15.5px; color: var(--ink); }
.understood.empty p { color: var(--soft); margin: 0; }
.understood img { width: 100%; max-height: 240px; object-fit: contain; object-position: left; border-radius: 10px;
  display: block; }

.understood + .message { margin-top: 8px; }

.group { margin: 8px 0 0; font-size: 14px; font-weight: 650; color: var(--ink); }

.run { display: grid; gap: 12px; }
.run .figures { display: flex; align-items: baseline; gap: 6px 18px; flex-wrap: wrap; color: var(--soft); font-size: 14.5px;
  font-variant-numeric: tabular-nums; }
.run .figures strong { color: var(--ink); font-size: 16.5px; font-weight: 650; }
.run.done .figures strong { color: var(--accent); }
.run img { width: 100%; max-height: 560px; object-fit: contain; border-radius: 12px; background: #0c0b0a; }
.run.idle { border: 1.5px dashed var(--line); border-radius: 12px; min-height: 120px; place-items: center; }
.run.idle p { margin: 0; color: var(--soft); font-size: 14.5px; }
.bar { height: 8px; border-radius: 99px; background: color-mix(in srgb, var(--soft) 18%, transparent); overflow: hidden; }
.bar i { display: block; height: 100%; border-radius: 99px; background: var(--accent); transition: width .5s linear; }
.bar.unknown i { width: 30%; animation: slide 1.4s ease-in-out infinite alternate; }
@keyframes slide { from { margin-left: 0 } to { margin-left: 70% } }
@media (prefers-reduced-motion: reduce) { .bar.unknown i { animation: none; width: 100%; opacity: .5; } .bar i { transition: none; } }

@media (max-width: 640px) {
  .step { padding: 16px 14px 18px !important; border-radius: 14px; }
  #video { height: auto !important; min-height: 190px; } #result-video { height: auto !important; }
  .masthead h1 { font-size: 26px; } .masthead p { font-size: 15px; }
  .step-head p { flex-basis: 100%; }
  .legend { grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 6px; }
  .swatch { min-height: 44px; padding: 0 4px; gap: 6px; font-size: 13px; }
  #canvas .top-panel { right: 4px; padding: 2px; } #canvas .image-container > .toolbar-wrap { left: 4px; }
  #canvas .top-panel button[aria-label^="Zoom"], #canvas .top-panel .zoom-number { display: none; }
}
"""


def frame_css(width: int, height: int) -> str:
    """Tells the style sheet the shape of the video, so that the editor takes no more room than it needs."""
    return f"<style>:root {{ --frame-ratio: {height / width:.4f}; }}</style>"


def sample_css(picture: str) -> str:
    """The sample button shows the sample; picture: a data address."""
    shade = "linear-gradient(to top, rgba(0,0,0,.7), rgba(0,0,0,0) 60%)"
    return f'#sample {{ background-image: {shade}, url("{picture}"); }}'
