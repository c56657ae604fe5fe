"""The stage's scripts: as one for the page, and their pure parts in node."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from demo.stage import parts

TESTS = Path(__file__).parent / "stage"
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not here, which runs tests of scripts")


def test_a_script_holds_each_module_once_before_those_that_need_it():
    joined = parts.script("painter.js")
    places = [joined.index(f"class {name} ") for name in ("Shelf", "Reel", "Player")]
    assert joined.count("class Shelf ") == 1 and places[0] < places[1]
    assert not re.search(r"^(import|export) ", joined, re.MULTILINE), "the page takes no module"


@needs_node
def test_the_script_is_one_that_a_function_can_hold(tmp_path):
    body = tmp_path / "script.js"
    body.write_text(f"(function (element, trigger, props, server, upload, watch) {{{parts.script('painter.js')}}})")
    subprocess.run(["node", "--check", str(body)], check=True, capture_output=True)


@needs_node
def test_pure_parts_do_what_they_say():
    ran = subprocess.run(["node", "--test", str(TESTS)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
