"""Rows are kept, read again, and shown."""

from dataclasses import replace

import pytest

from xmem.benchmark.cases import Case
from xmem.benchmark.picture import draw, series_along, unit_of
from xmem.benchmark.results import GROUPS, PARTS, Pass, Report, Row, Sample
from xmem.benchmark.table import sample_at, settled, table
from xmem.errors import InputError

MACHINE = {
    "processor": "A processor",
    "cores": 2,
    "device": "CPU, 2 threads",
    "device_type": "cpu",
    "system": "Linux x86_64",
    "torch": "2.15",
    "peaks": {"float32": {"matrix product 64": 100.0, "convolution": 120.0}},
}
CASE = Case("xmem-lite", 480, 1, 40, "float32", True)


def row(**changes) -> Row:
    course = tuple(Sample(frame, 10 * frame, 1000 * frame, 10**8) for frame in (1, 20, 40))
    return Row(
        replace(CASE, **changes),
        "embedded",
        whole=Pass(40, 8.0, None, course),
        engine=Pass(34, 5.0, 10.0, course),
        stages={part: 0.01 for part in PARTS},
        start_bytes=10**8,
        peak_bytes=3 * 10**8,
        growth_bytes=10**7,
        gflop=6.0,
        peak_gflops=120.0,
    )


def test_the_slowest_stage_is_the_network_as_it_runs_or_another_that_is_slower():
    """5 frames per second from file to file: 0.2 s a frame, of which the network takes 0.1 s in its own pass."""
    assert row().over_slowest == pytest.approx(0.2 / 0.1)
    assert replace(row(), engine=None).over_slowest == pytest.approx(0.2 / 0.07), "7 parts of it, one after the other"
    slow = {**row().stages, "h264": 0.16}
    assert replace(row(), stages=slow).over_slowest == pytest.approx(0.2 / 0.16)


def length_row(long_term: bool, **changes) -> Row:
    kept = row(long_term=long_term, frames=1000, passes=("engine",))
    course = tuple(Sample(frame, 10 * frame, 1000 * frame, None) for frame in range(10, 1001, 10))
    return replace(kept, whole=None, stages={}, engine=Pass(990, 9.0, 100.0, course), **changes)


def test_a_report_is_read_as_it_was_written(tmp_path):
    report = Report(tmp_path / "benchmark.json", MACHINE)
    failed = replace(length_row(False), error="out of memory after 500 frames")
    for each in (row(), row(size=240), failed):
        report.add(each)
    read = Report.load(report.path)
    assert read.rows == report.rows and read.machine == MACHINE


def test_a_row_is_found_by_its_case_unless_it_failed(tmp_path):
    report = Report(tmp_path / "benchmark.json", MACHINE)
    report.add(replace(row(), error="out of memory"))
    assert report.find(CASE) is None
    report.add(row())
    assert report.find(CASE) == row() and len(report.rows) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 0}', '{"version": 1, "machine": {}, "rows": [{}]}'])
def test_a_file_that_is_no_report_is_refused(tmp_path, text):
    (tmp_path / "benchmark.json").write_text(text)
    with pytest.raises(InputError, match="cannot be read as a benchmark"):
        Report.load(tmp_path / "benchmark.json")


def test_what_follows_from_a_row():
    measured = row()
    assert measured.engine.fps == 10 and measured.whole.fps == 5
    assert sum(measured.shares.values()) == pytest.approx(1)
    assert measured.shares["network"] == pytest.approx(4 / len(PARTS))
    assert measured.of_peak == pytest.approx(6 * 10 / 120)


def test_the_table_has_a_line_for_every_row_and_names_the_machine(tmp_path):
    rows = [
        row(),
        row(size=240, objects=3),
        length_row(True),
        length_row(False, error="out of memory after 1,000 frames"),
    ]
    text = table(Report(tmp_path, MACHINE, rows))
    lines = [line for line in text.splitlines() if line.startswith("xmem-lite ")]
    assert [line.split()[:6] for line in lines] == [
        ["xmem-lite", "480", "1", "40", "float32", "on"],
        ["xmem-lite", "240", "3", "40", "float32", "on"],
        ["xmem-lite", "480", "1", "1,000", "float32", "on"],
        ["xmem-lite", "480", "1", "1,000", "float32", "off"],
    ]
    assert "A processor, 2 cores; CPU, 2 threads; torch 2.15" in text and "120 in float32" in text
    header = next(line for line in text.splitlines() if line.startswith("model"))
    assert header.split()[-len(GROUPS) :] == list(GROUPS)
    assert lines[0].split()[6:14] == ["10.0", "5.00", "100", "300", "10", "6.00", "50%", "8%"]
    assert "3,000 (0.3)" in lines[2] and "10,000 (1.0)" in lines[2]
    assert text.endswith("no long-term memory: out of memory after 1,000 frames")


def test_a_run_from_file_to_file_alone_is_shown_whatever_its_length(tmp_path):
    alone = replace(row(passes=("whole",)), engine=None, stages={})
    long = row(frames=5000)
    text = table(Report(tmp_path, MACHINE, [row(), alone, long]))
    shown = text.split("Memory of the process over a whole run")[1]
    lines = [line.split() for line in shown.splitlines() if line.startswith("xmem-lite ")]
    assert [line[3] for line in lines] == ["40", "5,000"]
    assert lines[0][6:] == ["5.00", "100", "100", "+0.0", "MB,", "+0.0%"]


def test_random_weights_are_said(tmp_path):
    assert "xmem-lite (random weights)" in table(Report(tmp_path, MACHINE, [replace(row(), weights="random")]))


def test_growth_counts_from_a_tenth_of_the_run():
    course = [Sample(frame, None, None, 100 + frame) for frame in range(0, 1001, 50)]
    assert settled(course) == (200, 1100)
    assert settled([replace(sample, process_bytes=None) for sample in course]) == (None, None)


def test_a_sample_far_from_the_frame_asked_for_is_not_shown():
    course = [Sample(100, 1, 1, None), Sample(200, 2, 2, None)]
    assert sample_at(course, 103).frame == 100
    assert sample_at(course, 150) is None


def test_a_series_differs_in_one_axis_only():
    rows = [row(), row(size=240), row(objects=3), row(precision="bfloat16"), row(size=240, precision="bfloat16")]
    assert [each.case.size for each in series_along("size", rows)["xmem-lite"]] == [240, 480]
    assert [each.case.objects for each in series_along("objects", rows)["xmem-lite"]] == [1, 3]
    assert series_along("frames", rows) == {}


def test_the_picture_is_drawn_from_whatever_was_measured(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [row(), row(size=240), row(objects=3), length_row(True), length_row(False, error="out of memory")]
    for count in (1, 2, 5):
        draw(Report(tmp_path, MACHINE, rows[:count]), tmp_path / f"{count}.png")
    heads = [(tmp_path / f"{count}.png").read_bytes()[:24] for count in (1, 2, 5)]
    assert all(head.startswith(b"\x89PNG") for head in heads)
    assert len({head[16:24] for head in heads}) == 3  # width and height: more panels where there is more to show


def test_without_matplotlib_the_user_is_told_that_the_rest_is_there(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install matplotlib.*benchmark\.json are complete"):
        draw(Report(tmp_path / "benchmark.json", MACHINE, [row()]), tmp_path / "picture.png")


def test_speeds_are_drawn_relative_on_a_cpu_and_in_frames_per_second_on_a_gpu():
    slow = replace(row(model="XMem"), engine=Pass(34, 50.0, 0.5))
    unit, words = unit_of([row(), row(size=240), slow, replace(slow, case=replace(slow.case, size=1080))], "cpu")
    assert unit == 0.5 and words == "speed: 1 is XMem, 480 px, 1 obj., float32"
    assert unit_of([row(), slow], "cuda") == (1.0, "frames per second")


def late_row(model: str, frames: int, fps: float) -> Row:
    chosen = replace(row(model=model, frames=frames, passes=("sampled",)), whole=None, stages={})
    return replace(chosen, engine=Pass(15, 15 / fps, fps, (Sample(frames, 10 * frames, 1000 * frames, None),)))


def test_families_stand_side_by_side_by_length(tmp_path):
    pytest.importorskip("matplotlib")
    report = Report(tmp_path / "benchmark.json", MACHINE)
    for model, fps in (("STCN", 4.0), ("STM", 2.0)):
        report.add(late_row(model, 100, fps))
    report.add(late_row("STM", 3000, 0.5))
    said = table(report).splitlines()
    head = next(i for i, line in enumerate(said) if line.startswith("model"))
    assert said[head].split()[-4:] == ["at", "100", "at", "3,000"]
    assert said[head + 1].split()[-3:] == ["4.00", "(0.1)", "-"]
    assert said[head + 2].split()[-4:] == ["2.00", "(0.1)", "0.50", "(3.0)"]
    assert "Memory against length" not in table(report)
    report.add(late_row("STCN", 3000, 3.0))
    draw(report, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
