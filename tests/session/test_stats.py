"""Measures per object and frame, against values worked out by hand, and their file."""

import logging

import numpy as np
import pytest

from xmem.session.evidence import Evidence
from xmem.session.stats import ObjectStats, StatsFile, certainties, measure, read_stats, shapes_of


def field(value: float = 0.0, shape=(48, 64)) -> np.ndarray:
    return np.full(shape, value, np.float32)


def square(probability: float, left: int = 10, side: int = 10) -> np.ndarray:
    p = field()
    p[10 : 10 + side, left : left + side] = probability
    return p


def test_area_box_and_centroid_are_in_pixels_of_the_source():
    index = np.zeros((96, 128), np.uint8)
    index[20:30, 40:60] = 3
    index[25, 59] = 0
    (row,) = measure(7, shapes_of(index, [3]), square(1.0)[None], [3])
    assert (row.frame, row.object, row.area, row.box) == (7, 3, 199, (40, 20, 20, 10))
    ys, xs = np.nonzero(index)
    assert row.centroid == pytest.approx((xs.mean(), ys.mean()), abs=0.01)


def test_an_object_without_pixels_has_neither_box_nor_centroid():
    (row,) = measure(0, shapes_of(np.zeros((48, 64), np.uint8), [1]), field()[None], [1])
    assert (row.area, row.box, row.centroid) == (0, None, None)


def test_overlap_is_that_with_the_previous_mask_of_the_same_object():
    index, previous = np.zeros((2, 48, 64), np.uint8)
    index[:10, :10], previous[:10, 5:15] = 1, 1  # 50 in both, 150 in either
    previous[20:30, 20:30] = 2
    ids = [1, 2, 3]
    one, two, three = measure(1, shapes_of(index, ids), np.stack([field()] * 3), ids, shapes_of(previous, ids))
    assert one.overlap == pytest.approx(1 / 3, abs=1e-4)
    assert (two.overlap, three.overlap) == (0, 1)  # vanished; empty on both
    assert measure(0, shapes_of(index, [1]), field()[None], [1])[0].overlap == 1


def test_certainty_is_the_expected_overlap_with_the_truth():
    assert certainties(square(1.0)[None]) == [1.0]
    assert certainties(square(0.8)[None])[0] == pytest.approx(0.8, abs=1e-5)  # as it is kept, in 16 bits
    beside = square(1.0) + square(0.25, left=30)  # 100 sure pixels, 100 of one quarter beside them
    assert certainties(beside[None])[0] == pytest.approx(100 / 125, abs=1e-5)


def test_certainty_does_not_depend_on_how_large_the_object_is():
    small, large = (square(0.9, side=side) + square(0.3, left=40, side=side) for side in (5, 20))
    assert certainties(small[None])[0] == pytest.approx(certainties(large[None])[0])


def test_traces_over_the_whole_frame_do_not_make_a_small_object_uncertain():
    p = np.maximum(square(1.0, side=3), 0.01)
    assert certainties(p[None])[0] == pytest.approx(1.0)


def test_an_absent_object_is_as_certain_as_the_highest_probability_left_is_low():
    assert certainties(field()[None]) == [1.0]
    assert certainties(square(0.45)[None])[0] == pytest.approx(0.55, abs=1e-5)


def test_a_pixel_belongs_to_the_most_probable_object_and_is_doubt_to_the_other():
    first, second = certainties(np.stack([square(0.6), square(0.4)]))
    assert first == pytest.approx(0.6)
    assert second == pytest.approx(0.6)  # has no pixel of its own: 1 - 0.4


def test_certainty_of_an_object_that_is_alone_is_told_to_the_last_bit():
    bits = np.random.default_rng(1).integers(0, 65536, (48, 64), dtype=np.uint16)
    bits[:, 40:] //= 12  # traces, some of which count
    p = bits / 65535
    own = p > 0.5
    outside = p[~own & (p > 0.05)].sum()
    assert certainties(bits[None]) == [pytest.approx(p[own].sum() / (own.sum() + outside), abs=1e-12)]


def test_certainty_of_one_among_several_counts_pixels_in_which_it_is_the_most_probable():
    bits = np.random.default_rng(2).integers(0, 65536 // 3, (3, 48, 64), dtype=np.uint16)
    p = bits / 65535
    own = (p[1] >= p.max(0)) & (p[1] > 1 - p.sum(0))
    outside = p[1][~own & (p[1] > 0.05)].sum()
    assert certainties(bits)[1] == pytest.approx(p[1][own].sum() / (own.sum() + outside), abs=1e-4)


def test_objects_and_channels_must_agree():
    with pytest.raises(ValueError, match="2 objects"):
        measure(0, shapes_of(np.zeros((4, 4), np.uint8), [1, 2]), np.zeros((1, 4, 4), np.float32), [1, 2])


ROWS = [
    ObjectStats(4, 1, 199, 0.9731, 0.3333, (40, 20, 20, 10), (49.5, 24.52)),
    ObjectStats(4, 2, 0, 0.55, 1.0, None, None),
]


def test_a_table_comes_back_as_it_was_written(tmp_path):
    StatsFile(tmp_path / "stats.csv").append(ROWS)
    assert read_stats(tmp_path / "stats.csv") == {(4, 1): ROWS[0], (4, 2): ROWS[1]}


def test_evidence_comes_back_with_its_gaps(tmp_path):
    row = ObjectStats(4, 1, 199, 0.9, 0.3, (40, 20, 20, 10), (49.5, 24.52), Evidence(motion=0.25, passes=0.5))
    StatsFile(tmp_path / "stats.csv").append([row])
    assert read_stats(tmp_path / "stats.csv") == {(4, 1): row}


def test_a_table_of_an_earlier_version_opens_and_goes_on(tmp_path):
    path = tmp_path / "stats.csv"
    path.write_text(
        "frame,object,area,certainty,overlap,x,y,width,height,centre_x,centre_y\n"
        "4,1,199,0.9731,0.3333,40,20,20,10,49.5,24.52\n"
    )
    after = ObjectStats(5, 1, 7, 0.5, 1.0, (0, 0, 7, 1), (3.0, 0.0), Evidence(colour=0.5))
    StatsFile(path).append([after])
    assert read_stats(path) == {(4, 1): ROWS[0], (5, 1): after}


def test_measures_survive_their_file_exactly(tmp_path):
    rng = np.random.default_rng(1)
    index = rng.integers(0, 3, (48, 64), np.uint8)
    shapes, before = shapes_of(index, [1, 2]), shapes_of(index[::-1], [1, 2])
    rows = measure(0, shapes, rng.random((2, 24, 32), np.float32) / 2, [1, 2], before)
    StatsFile(tmp_path / "stats.csv").append(rows)
    assert list(read_stats(tmp_path / "stats.csv").values()) == rows


def test_later_rows_win_and_one_header_stands_at_the_top(tmp_path):
    path = tmp_path / "stats.csv"
    StatsFile(path).append(ROWS)
    later = ObjectStats(4, 1, 5, 0.1, 0.2, (0, 0, 5, 1), (2.0, 0.0))
    StatsFile(path).append([later])  # another process, after a restart
    assert read_stats(path)[4, 1] == later
    assert path.read_text().count("certainty") == 1


def test_every_frame_is_on_disk_once_appended(tmp_path):
    file = StatsFile(tmp_path / "stats.csv")
    for frame in range(3):
        file.append([ObjectStats(frame, 1, 0, 1.0, 1.0, None, None)])
        assert len(read_stats(file.path)) == frame + 1


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_a_row_cut_short_by_a_crash_costs_only_itself(tmp_path, caplog, cut):
    file = StatsFile(tmp_path / "stats.csv")
    file.append(ROWS)
    file.append([ROWS[0]])
    text = file.path.read_text()
    file.path.write_text(text[: -cut - 1])
    after = ObjectStats(5, 1, 0, 1.0, 1.0, None, None)
    with caplog.at_level(logging.WARNING, "xmem"):
        StatsFile(file.path).append([after])  # by another process
        found = read_stats(file.path)
    assert found[4, 2] == ROWS[1] and found[5, 1] == after


def test_without_a_file_there_are_no_rows(tmp_path):
    assert read_stats(tmp_path / "none.csv") == {}
