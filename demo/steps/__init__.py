"""The rooms of the page, a module per step: `build` makes components, `wire` connects them with `demo.events`."""

PRIVATE = {"api_visibility": "private"}  # the page's own events; programs use those of `demo.api`
QUIET = {"show_progress": "hidden", **PRIVATE}

# What is painted is on its way to the server until this has waited; it hands its arguments on.
SETTLE = "async (...values) => { if (window.xmemSettled) await window.xmemSettled(); return values; }"
# The same, and the last argument becomes the frame on the canvas.
SETTLE_WITH_FRAME = (
    "async (...values) => { if (window.xmemSettled) await window.xmemSettled(); "
    "return [...values.slice(0, -1), window.xmemFrame ? window.xmemFrame() : 0]; }"
)
