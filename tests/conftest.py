"""Shared by all tests: the folder of helpers on the path, a small network of random weights, and one browser."""

import gc
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # beside another: threads of both, and of servers that they start, would wait
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import xmem  # noqa: F401 - before torch: it decides how torch's threads wait

sys.path.insert(0, str(Path(__file__).parent))

BROWSER = "tests/browser/"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")  # as browser/install.sh looks for them


def unit_of(nodeid: str) -> str:
    """What one of several workers runs as a whole: a file; but all tests that share the server and the browser."""
    return BROWSER if nodeid.startswith(BROWSER) else nodeid.split("::", 1)[0]


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """What takes longest first, so that all workers end together: the browser's tests, what is marked as long, and
    the other files by how many tests they have."""
    units = [unit_of(item.nodeid) for item in items]
    counts = Counter(units)
    long = {unit for unit, item in zip(units, items, strict=True) if item.get_closest_marker("long")}
    order = {unit: (unit != BROWSER, unit not in long, -counts[unit], unit) for unit in counts}
    return sorted(items, key=lambda item: order[unit_of(item.nodeid)])


def pytest_collection_modifyitems(items):
    if "PYTEST_XDIST_WORKER" in os.environ:
        items[:] = in_order(items)


def pytest_collection_finish():
    """What was imported stays: collecting garbage need not look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Of `--dist loadfile`: hand out units in the order of collection."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class LongestFirst(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return unit_of(nodeid)

    config.option.loadscopereorder = False
    return LongestFirst(config, log)


@pytest.fixture(scope="session", autouse=True)
def unmeasured():
    """Large networks take Winograd's table as it is: the same numbers in every run, and no file in the user's cache."""
    from xmem.networks.cpu import winograd_layer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd_layer, "corrections_here", dict)
        yield


@pytest.fixture(autouse=True)
def ordinary_scheduling():
    """Encoding by SVT-AV1 makes a process of root a real-time one, and so its children, a browser among them."""
    yield
    if hasattr(os, "sched_getscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture(scope="session")
def tiny_model():
    """An xmem-lite of random weights in evaluation mode: right shapes and speed, meaningless masks."""
    import torch

    from xmem.networks.xmem import XMem, lite_sizes

    torch.manual_seed(0)
    return XMem(lite_sizes()).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def browser():
    """One headless Chromium for all tests: Playwright runs once per process."""
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUMS)), None)
    with sync_api.sync_playwright() as playwright:
        chromium = chromium or playwright.chromium.executable_path
        if not Path(chromium).exists():
            pytest.skip("no Chromium on this machine")
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()
