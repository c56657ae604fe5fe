"""The folder of a Hugging Face Space, from a checkout: `python -m demo.space FOLDER`, or `make space`.

It holds what runs and no more: no tests, documents, history, or checkpoints that were fetched. docs/space.md says how
it goes on from there.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = (
    "app.py",
    "demo",
    "xmem",
    "checkpoints/README.md",
    "checkpoints/xmem-lite.safetensors",
    "checkpoints/xmem-click.safetensors",
    "checkpoints/xmem-click/README.md",
    "checkpoints/xmem-lite/README.md",
    "requirements.txt",
    "LICENSE",
)
ABOUT = """
Paint an object on any frame, and it is followed through the whole video. The network that comes along (`xmem-lite`,
for non-commercial use) is small; set the variable `XMEM_MODEL` to `XMem` for the released one, which is fetched at the
start.
"""


def write(folder: Path) -> None:
    """Write the Space into a folder, new or empty. Raises FileExistsError where it is neither."""
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: name a new folder.")
    for part in PARTS:
        source, target = ROOT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copyfile(source, target)
    (folder / "README.md").write_text(readme((ROOT / "README.md").read_text(encoding="utf-8")), encoding="utf-8")


def readme(whole: str) -> str:
    """Front matter and title of the README; its pictures and links lead to what a Space does not have."""
    head = re.match(r"---\n.*?\n---\n\n# [^\n]+\n", whole, re.DOTALL)
    assert head, "the README begins with what a Space reads"
    return head[0] + ABOUT


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m demo.space", description="Write the folder of a Space.")
    parser.add_argument("folder", type=Path, help="new or empty")
    try:
        write(parser.parse_args().folder)
    except OSError as error:
        sys.exit(f"error: {error}")
