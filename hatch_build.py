"""What a wheel holds beside the modules: see xmem/resources.py, which finds it."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHARED = (
    "app.py",
    "demo",
    "checkpoints/README.md",
    "checkpoints/xmem-lite.safetensors",
    "checkpoints/xmem-lite/README.md",
    "checkpoints/xmem-click.safetensors",
    "checkpoints/xmem-click/README.md",
)


class ShareHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":  # an editable install is the checkout, which has them
            build_data["force_include"] |= {name: f"xmem/share/{name}" for name in SHARED}
