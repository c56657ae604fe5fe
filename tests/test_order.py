"""Where several workers run the tests, the longest begin first and those of the browser share one worker."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

HERE = Path(__file__).with_name("conftest.py")


@pytest.fixture(scope="module")
def conftest():
    spec = importlib.util.spec_from_file_location("order_of_tests", HERE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def item(nodeid: str, *marks: str) -> SimpleNamespace:
    return SimpleNamespace(nodeid=nodeid, get_closest_marker=lambda name: name if name in marks else None)


def test_the_browser_comes_first_then_what_is_long_then_the_most_tests_and_files_stay_whole(conftest):
    few, many = [item("tests/a/test_few.py::test_1")], [item(f"tests/b/test_many.py::test_{i}") for i in (2, 1)]
    long = [item("tests/c/test_long.py::test_1"), item("tests/c/test_long.py::test_2[a::b]", "long")]
    browser = [item("tests/browser/test_x.py::test_1"), item("tests/browser/test_y.py::test_1")]
    ordered = conftest.in_order([few[0], many[0], browser[0], long[0], many[1], long[1], browser[1]])
    assert ordered == [*browser, *long, *many, *few]


def test_all_files_of_the_browser_are_one_unit_and_other_files_their_own(conftest):
    names = ("tests/browser/test_x.py::test_1", "tests/browser/test_y.py::test_1", "tests/a/test_b.py::test_c[d::e]")
    assert [conftest.unit_of(name) for name in names] == ["tests/browser/"] * 2 + ["tests/a/test_b.py"]


def test_a_run_by_two_workers_hands_out_whole_units(conftest, monkeypatch):
    scheduler = pytest.importorskip("xdist.scheduler")
    monkeypatch.setattr(scheduler.LoadFileScheduling, "__init__", lambda self, config, log: None)
    config = SimpleNamespace(getoption=lambda name: "loadfile", option=SimpleNamespace(loadscopereorder=True))
    made = conftest.pytest_xdist_make_scheduler(config, None)
    assert isinstance(made, scheduler.LoadFileScheduling) and not config.option.loadscopereorder
    assert made._split_scope("tests/browser/test_x.py::test_1") == "tests/browser/"
    config.getoption = lambda name: "load"
    assert conftest.pytest_xdist_make_scheduler(config, None) is None
