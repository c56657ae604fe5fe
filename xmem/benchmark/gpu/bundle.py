"""`make gpu-bundle`: a file that holds all that `python3 gpu.py` needs on a machine without network, Gradio and PyAV.

python -m xmem.benchmark.gpu.bundle runs/gpu-bundle.tar.xz      # there: tar xf it; cd xmem-gpu; python3 gpu.py
"""

from __future__ import annotations

import argparse
import lzma
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

from xmem.benchmark.gpu.parts import CLIPS, ROOT
from xmem.benchmark.gpu.scale import FULL
from xmem.errors import InputError

AT_HAND = ("torch", "torchvision", "numpy", "opencv-python-headless", "pillow", "safetensors")  # there, and pytest
PYTHON, PLATFORMS = "3.12", ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
MOST_BYTES = 60_000_000
FOLDER = "xmem-gpu"
TREE = (  # of the tree: the engine, its tests on a GPU, and what these read
    *("gpu.py", "LICENSE", "pyproject.toml", "xmem/", "checkpoints/xmem-lite.safetensors", "demo/samples/"),
    *("tests/__init__.py", "tests/conftest.py", "tests/test_gpu.py", "tests/reference_weights.py", "tests/reference/"),
)
NOT_OF_TREE = ("tests/reference/families/", "demo/samples/gallery/")


def main(words: list[str] | None = None) -> None:
    """Write the bundle. Raises InputError where it would be too large."""
    parser = argparse.ArgumentParser(prog="gpu-bundle", description="Pack what a GPU machine needs.")
    parser.add_argument("path", type=Path, help="of the file, .tar.xz")
    parser.add_argument(
        "--no-packages", action="store_true", help="leave out what pip fetches: for a machine that has it"
    )
    args = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / FOLDER
        copy_tree(folder)
        copy_clips(folder / CLIPS[0])
        if not args.no_packages:
            unpack_packages(needed(), folder / "site")
        args.path.parent.mkdir(parents=True, exist_ok=True)
        # most of it is machine code for x86, which that filter makes a good deal smaller; `tar xf` undoes it
        filters = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 9}]
        with lzma.open(args.path, "wb", filters=filters) as packed, tarfile.open(fileobj=packed, mode="w|") as bundle:
            bundle.add(folder, FOLDER)
    size = args.path.stat().st_size
    if size > MOST_BYTES:
        raise InputError(f"The bundle has {size / 1e6:.0f} MB, more than {MOST_BYTES / 1e6:.0f}: leave something out.")
    print(f"{args.path}: {size / 1e6:.1f} MB")


def needed() -> list[str]:
    """The dependencies that a GPU machine does not have, as pip takes them."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return [line for line in wanted if not line.startswith(tuple(f"{name}>" for name in AT_HAND))]


def files_of_tree(names: list[str]) -> list[str]:
    """Those of a checkout's files that come along."""
    return [name for name in names if name.startswith(TREE) and not name.startswith(NOT_OF_TREE)]


def copy_tree(folder: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in files_of_tree(listed.stdout.splitlines()):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)


def copy_clips(folder: Path) -> None:
    """The held-back clips, where they are at hand."""
    root = next((ROOT / name for name in CLIPS if (ROOT / name).is_dir()), None)
    if root is None:
        return
    for part in ("frames", "masks"):
        for clip in FULL.clips:
            shutil.copytree(root / part / clip, folder / part / clip, copy_function=shutil.copyfile)


def unpack_packages(requirements: list[str], folder: Path) -> None:
    """Fetch wheels for the machine's Python, with what they need, and unpack them: a wheel within a bundle would not
    shrink any more."""
    with tempfile.TemporaryDirectory() as wheels:
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--dest", wheels]
        words += ["--python-version", PYTHON, "--implementation", "cp"]
        words += [word for platform in PLATFORMS for word in ("--platform", platform)]
        subprocess.run([*words, *requirements], check=True)
        for wheel in sorted(Path(wheels).glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder, [name for name in archive.namelist() if not name.endswith((".pyi", ".pxd"))])


if __name__ == "__main__":
    main()
