"""What is installed is what the project needs, and works without the checkout."""

import ast
import os
import re
import socket
import subprocess
import sys
import sysconfig
import time
import tomllib
import urllib.request
import venv
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from PIL import Image
from platformdirs import user_cache_path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
START_SECONDS = 120


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in requirements}


def imported(folder: Path) -> set[str]:
    """Names of the top-level packages that the modules of a folder import, wherever in them."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.split(".")[0])
    return found


def test_a_space_installs_what_the_package_with_its_page_needs():
    """Of torch, the newest pair that ZeroGPU has: it must be one that the package takes."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = {line for line in lines if line and not line.startswith("#")}
    needed = {*PROJECT["dependencies"], *EXTRAS["demo"]}
    assert wanted - needed == {"torch==2.11.0", "torchvision==0.26.0"}
    bounds = {Requirement(line).name: Requirement(line).specifier for line in needed - wanted}
    assert "2.11.0" in bounds.pop("torch") and "0.26.0" in bounds.pop("torchvision") and not bounds


def test_a_space_asks_for_versions_that_there_are():
    front = (ROOT / "README.md").read_text().split("---")[1]
    told = dict(line.split(": ", 1) for line in front.strip().splitlines())
    assert told["python_version"].strip('"') in ("3.12.12", "3.10.13"), "those of ZeroGPU"
    assert Version(told["python_version"].strip('"')) in SpecifierSet(PROJECT["requires-python"])
    assert Version(told["sdk_version"]) in Requirement(EXTRAS["demo"][0]).specifier
    assert (ROOT / told["app_file"]).is_file()


def test_a_spaces_folder_has_what_runs_and_no_more(tmp_path):
    """`make space`; tests/demo/test_zero.py starts one."""
    run([sys.executable, "-m", "demo.space", str(tmp_path / "space")], ROOT)
    there = {str(path.relative_to(tmp_path / "space")) for path in (tmp_path / "space").rglob("*") if path.is_file()}
    tracked = run(["git", "ls-files", "demo", "xmem"], ROOT).split() if (ROOT / ".git").exists() else []
    assert set(tracked) | {f"checkpoints/{name}.safetensors" for name in ("xmem-lite", "xmem-click")} <= there
    assert {name.split("/")[0] for name in there} == {
        *("README.md", "LICENSE", "app.py", "requirements.txt", "demo", "xmem", "checkpoints")
    }
    assert not [name for name in there if "__pycache__" in name or name.endswith((".part", ".pth"))]
    assert sum((tmp_path / "space" / name).stat().st_size for name in there) < 18_000_000
    head = (tmp_path / "space" / "README.md").read_text()
    assert head.startswith("---\ntitle: XMem") and "docs/" not in head
    said = subprocess.run(
        [sys.executable, "-m", "demo.space", str(tmp_path / "space")], cwd=ROOT, capture_output=True, text=True
    )
    assert said.returncode == 1 and "is not empty" in said.stderr


def test_the_engine_imports_nothing_that_it_does_not_depend_on():
    distributions = packages_distributions()
    others = imported(ROOT / "xmem") - set(sys.stdlib_module_names) - {"xmem", "compression"}  # in 3.14's library
    needed = {name.lower() for module in others for name in distributions.get(module, [module])}
    assert needed <= names([*PROJECT["dependencies"], *EXTRAS["plots"], *EXTRAS["ray"], *EXTRAS["helpers"]])


def test_the_page_and_its_networks_are_there_without_torchvision_which_takes_as_long_as_all_else():
    words = "import sys, app, xmem; xmem.load_model('xmem-lite', 'cpu'); xmem.Clicker()"
    late = "print(sorted({'torchvision', 'torch._dynamo'} & sys.modules.keys()))"
    assert run([sys.executable, "-c", f"{words}; {late}"], ROOT).strip() == "[]"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder of programs of an environment in which the project's wheel is installed, beside what runs the tests.

    What runs the tests is seen through a path file: what is installed there in editable form is not seen with it.
    """
    folder = tmp_path_factory.mktemp("installed")
    environment = folder / "environment"
    venv.create(environment, symlinks=os.name == "posix")
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    library = run([str(programs / "python"), "-c", where], folder).strip()
    (Path(library) / "running.pth").write_text(sysconfig.get_path("purelib"))
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(environment), "install", "--no-index", "--no-deps"]
    run([*pip, "--ignore-installed", str(wheel)], cwd=folder)
    return programs


def run(command: list[str], cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> dict[str, str]:
    """The environment variables of a user who has no checkout."""
    for name in ("PYTHONPATH", "XMEM_CHECKPOINTS", "XMEM_MODEL", "GRADIO_TEMP_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return {**os.environ, "no_proxy": "127.0.0.1"}


def write_square(path: Path, i: int) -> np.ndarray:
    """A picture of a bright square on a gradient, moving right; returns where the square is."""
    image = np.linspace(0, 120, 288).astype(np.uint8)[None, :, None].repeat(192, 0).repeat(3, 2)
    square = np.zeros((192, 288), bool)
    square[60:132, 30 + 9 * i : 102 + 9 * i] = True
    image[square] = (240, 200, 40)
    Image.fromarray(image).save(path)
    return square


def test_an_installed_package_tracks_a_clip_with_the_weights_that_come_along(installed, elsewhere, tmp_path):
    (tmp_path / "images").mkdir()
    squares = [write_square(tmp_path / "images" / f"{i}.png", i) for i in range(5)]
    Image.fromarray(squares[0].astype(np.uint8)).save(tmp_path / "mask.png")
    words = ["segment", "images", "--mask", "mask.png", "--output", "out", "--size", "192", "--device", "cpu"]
    run([str(installed / "xmem"), *words], tmp_path, elsewhere)
    assert (tmp_path / "out" / "overlay.mp4").stat().st_size > 0
    found = np.array(Image.open(tmp_path / "out" / "masks" / "4.png")) > 0
    assert (found & squares[4]).sum() > 0.8 * (found | squares[4]).sum()


def test_an_installed_package_keeps_what_it_fetches_in_the_users_cache(installed, elsewhere, tmp_path):
    said = run([str(installed / "xmem"), "models"], tmp_path, elsewhere)
    assert "xmem-lite        yes" in said
    assert str(user_cache_path("xmem", appauthor=False) / "checkpoints") in said


def test_an_installed_package_serves_the_page(installed, elsewhere, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    address, opener = f"http://127.0.0.1:{port}", urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with open(tmp_path / "log", "w") as log:
        words = ["demo", "--host", "127.0.0.1", "--port", port]
        server = subprocess.Popen([installed / "xmem", *words], cwd=tmp_path, env=elsewhere, stdout=log, stderr=log)
    try:
        end = time.monotonic() + START_SECONDS
        while server.poll() is None and time.monotonic() < end:
            try:
                assert b"XMem" in opener.open(address, timeout=5).read()
                return
            except OSError:
                time.sleep(0.3)
        pytest.fail(f"The page is not served:\n{(tmp_path / 'log').read_text()}")
    finally:
        server.terminate()
        server.wait(20)
