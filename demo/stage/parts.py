"""Templates and scripts of this folder; ES modules as one script for `gr.HTML`, which takes a function's body.

Each module keeps its own scope and hands out what it exports, under the same names: no module may import under another
name, and exports stand at the beginning of a line.
"""

import re
from pathlib import Path

FOLDER = Path(__file__).parent
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w-]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const|let) (\w+))", re.MULTILINE)


def part(name: str) -> str:
    """A file of this folder: a template or a script."""
    return (FOLDER / name).read_text(encoding="utf-8")


def script(name: str) -> str:
    """The module `name` with all that it imports, in an order in which each comes before those that need it."""
    return "\n".join(_scoped(part(each)) for each in _in_order(name, []))


def _in_order(name: str, known: list[str]) -> list[str]:
    for needed in _IMPORT.findall(part(name)):
        if needed not in known:
            _in_order(needed, known)
    known.append(name)
    return known


def _scoped(source: str) -> str:
    names = ", ".join(_EXPORT.findall(source))
    body = _EXPORT.sub("", _IMPORT.sub("", source))
    return f"const {{ {names} }} = (() => {{\n{body}\nreturn {{ {names} }};\n}})();"
