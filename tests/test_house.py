"""The borders of the house: imports go one way, and what each room may not know, it does not import."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the ground up: a room imports only from those before it.
ENGINE = (
    *(
        "errors",
        "config",
        "freed",
        "device",
        "limits",
        "leaving",
        "private",
        "resources",
        "pieces",
        "zips",
        "video",
        "render",
        "networks",
        "memory",
    ),
    *(
        "families",
        "checkpoints",
        "engine",
        "click",
        "session",
        "scoring",
        "review",
        "export",
        "scale",
        "training",
        "benchmark",
        "cli",
    ),
)
PAGE = (
    *("headers", "log", "metrics", "html", "failures", "visit", "wiring", "line", "health", "runs"),
    *("stage", "tabs", "api", "page", "start", "space"),
)
FAMILIES = {path.name for path in (ROOT / "xmem" / "networks").iterdir() if path.is_dir()} - {"cpu", "__pycache__"}


def modules(package: str) -> Iterator[tuple[str, Path]]:
    """(room, file) of each module; a package's own top files have the room ""."""
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT / package).parts
        room = parts[0].removesuffix(".py")
        yield "" if room in ("__init__", "__main__") else room, path


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it, also those for type checkers alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize(("package", "rooms"), [("xmem", ENGINE), ("demo", PAGE)])
def test_imports_go_one_way(package, rooms):
    """So there is no circle between rooms, and none hidden behind TYPE_CHECKING."""
    upwards = []
    for room, path in modules(package):
        if not room:
            continue
        assert room in rooms, f"{path} is in no room of the house: give it a place in the order"
        for name in imports(path):
            _, _, rest = name.partition(f"{package}.")
            other = rest.split(".")[0] if name.startswith(f"{package}.") else room
            if other in rooms and rooms.index(other) > rooms.index(room):
                upwards.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not upwards, "\n".join(upwards)


@pytest.mark.parametrize(
    ("rooms", "forbidden"),
    [
        ("xmem/*", ("demo", "gradio")),
        ("demo/*", ("torch", "torchvision")),
        ("xmem/networks", ("xmem.memory",)),
        ("xmem/memory", ("xmem.networks", "xmem.engine")),
    ],
)
def test_a_room_does_not_know_what_is_none_of_its_business(rooms, forbidden):
    found = []
    for folder in ROOT.glob(rooms):
        for path in folder.rglob("*.py") if folder.is_dir() else [folder]:
            wrong = [name for name in imports(path) if any(f"{name}.".startswith(f"{word}.") for word in forbidden)]
            found += [f"{path.relative_to(ROOT)} imports {name}" for name in wrong]
    assert not [line for line in found if "__pycache__" not in line], "\n".join(found)


def test_no_module_outside_families_and_networks_names_a_family():
    """But for the trainer of XMem's networks, and the benchmark's networks of random weights."""
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for room, path in modules("xmem")
        if room not in ("networks", "families", "training", "benchmark")
        for name in imports(path)
        for family in FAMILIES
        if f"{name}.".startswith((f"xmem.networks.{family}.", f"xmem.families.{family}."))
    ]
    allowed = {"xmem/cli/train.py imports xmem.networks.xmem.XMem"}
    assert FAMILIES and not set(found) - allowed, "\n".join(found)


def test_each_family_is_a_folder_and_a_record():
    from xmem.families import FAMILIES as records

    assert set(records) == FAMILIES


def test_the_picture_of_the_house_shows_every_room():
    picture = (ROOT / "docs" / "house.svg").read_text(encoding="utf-8")
    rooms = {path.name for path in (ROOT / "xmem").iterdir() if (path / "__init__.py").is_file()}
    files = {path.stem for path in (ROOT / "xmem").glob("[!_]*.py")}
    assert {room for room in rooms if f"xmem/{room}/" not in picture} == set()
    assert {name for name in files if name not in picture} == set()


def test_each_promise_of_security_names_a_test_that_is_there():
    promises = re.findall(r"^\| .* \| `(tests/\S+\.py)::(\w+)` \|$", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)
    assert len(promises) > 20
    for path, name in promises:
        functions = {
            node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)
        }
        assert name in functions, f"{path} has no {name}"
