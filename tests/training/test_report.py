"""After a run: scored by the yardstick part by part, its logs joined, and drawn where it is worst."""

import json

import cv2
import pytest
import torch

from xmem.networks.xmem import ModelSizes, XMem
from xmem.training import report, yardstick
from xmem.training.yardstick import Part

TINY = ModelSizes("lite", 8, 16, 8, (16, 16, 8), 16, 1)


@pytest.fixture
def parts(monkeypatch):
    """A yardstick of two parts in the small world."""
    chosen = (Part("first", "data", ("held",), True, True), Part("second", "data", ("one", "two"), False, True))
    monkeypatch.setattr(yardstick, "YARDSTICK", chosen)
    return chosen


def test_every_part_has_its_mean_over_objects_and_each_of_its_sequences(world, parts):
    torch.manual_seed(0)
    scores = yardstick.score(XMem(TINY).eval(), world, size=48)
    assert list(scores) == ["first", "second"]
    assert scores["first"]["held"] == scores["first"]["J&F"]
    second = scores["second"]
    assert second["J&F"] == pytest.approx((second["J"] + second["F"]) / 2, abs=0.1)
    assert second["J&F"] == pytest.approx((second["one"] + second["two"]) / 2, abs=0.1)  # two objects each
    assert all(0 <= value <= 100 for figures in scores.values() for value in figures.values())


def test_the_worst_sequences_are_drawn_a_row_each(world, parts, tmp_path):
    scores = {"first": {"held": 50.0}, "second": {"one": 90.0, "two": 10.0}}
    torch.manual_seed(0)
    report.draw_failures(XMem(TINY).eval(), world, scores, 48, tmp_path / "worst.png", count=2)
    assert cv2.imread(str(tmp_path / "worst.png")).shape[0] == 2 * (report.PICTURE_HEIGHT + 4)


def test_logs_of_runs_are_joined_also_where_one_is_of_several(tmp_path):
    (tmp_path / "before").write_text('{"step": 1, "run": 1}\n{"step": 3, "run": 2}\n')
    (tmp_path / "after").write_text('{"step": 1, "loss": 2.0}\n')
    joined = report.join_logs([tmp_path / "before", tmp_path / "after"])
    assert [(record["run"], record["step"]) for record in joined] == [(1, 1), (2, 3), (3, 4)]


def test_a_joined_log_has_a_line_for_ten_steps_and_loses_no_second_of_them(tmp_path):
    """Their number and seconds are summed up and their loss is averaged; joined once more, nothing changes."""
    steps = [{"step": i + 1, "loss": float(i), "seconds": 2.5, "rate": i / 100, "shapes": []} for i in range(23)]
    records = [*steps[:14], {"step": 14, "validation": {"mean": 80.0}}, *steps[14:]]
    (tmp_path / "log").write_text("".join(json.dumps(record) + "\n" for record in records))
    joined = report.join_logs([tmp_path / "log"])
    assert [record.get("steps") for record in joined] == [10, 4, None, 9]
    assert [record["step"] for record in joined] == [10, 14, 14, 23]
    assert joined[0] == {"step": 10, "run": 1, "steps": 10, "loss": 4.5, "seconds": 25.0, "rate": 0.09}
    (tmp_path / "joined").write_text("".join(json.dumps(record) + "\n" for record in joined))
    again = report.join_logs([tmp_path / "joined", tmp_path / "log"])
    assert again[: len(joined)] == joined
    assert sum(record.get("seconds", 0) for record in again) == 2 * 23 * 2.5
