"""Which frames are suggested for checking, on made-up tables and on recorded ones of real clips."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xmem.render.masks import write_index_mask
from xmem.scoring.judge import auc, judge, main
from xmem.session.evidence import NAMES, Evidence
from xmem.session.stats import ObjectStats
from xmem.session.suggestions import frame_scores, object_scores, suggest

RECORDED = Path(__file__).with_name("held-back-384.csv")


def table(certainty, area=None, object=1, first=0):
    area = [1000] * len(certainty) if area is None else area
    return [
        ObjectStats(first + n, object, int(a), float(c), 1.0, (0, 0, 10, 10) if a else None, (5.0, 5.0) if a else None)
        for n, (c, a) in enumerate(zip(certainty, area, strict=True))
    ]


def steady(frames: int, **changes) -> list[float]:
    values = [0.95] * frames
    for frame, value in changes.items():
        values[int(frame[1:])] = value
    return values


def test_the_frame_with_the_least_certainty_comes_first_and_says_so():
    found = suggest(table(steady(60, f20=0.7, f41=0.42)), [], [0])
    assert [s.frame for s in found[:2]] == [41, 20]
    assert found[0].reason == "red certainty fell to 42 %"
    assert found[0].score > found[1].score


def test_a_certainty_as_low_as_everywhere_did_not_fall():
    reasons = {s.reason for s in suggest(table([0.5] * 60), [], [])}
    assert reasons == {"red has a certainty of only 50 %"}


def test_scores_lie_between_0_and_1_also_where_everything_is_wrong():
    rows = table([0.0] * 40, [10**6 if n % 2 else 1 for n in range(40)])
    scores = frame_scores(rows, cuts=range(40))
    assert all(0.9 < score <= 1 for score in scores.values())


def test_suggestions_are_no_neighbours_and_lie_further_apart_in_a_longer_clip():
    for frames, apart in ((60, 3), (2000, 125)):
        doubtful = np.linspace(0.9, 0.3, frames)
        places = sorted(s.frame for s in suggest(table(doubtful), [], [0], count=8))
        assert len(places) >= 3
        assert min(np.diff(places)) >= apart


def test_no_more_are_listed_than_asked_for():
    doubtful = np.random.default_rng(0).random(500)
    assert len(suggest(table(doubtful), [], [0], count=3)) == 3


def test_a_key_frame_is_never_suggested():
    rows = table(steady(60, f30=0.1))
    assert 30 in [s.frame for s in suggest(rows, [], [0])]
    assert 30 not in [s.frame for s in suggest(rows, [], [0, 30])]


def test_nothing_is_suggested_where_everything_is_certain():
    assert suggest(table([0.99] * 100), [], [0, 99]) == []
    assert suggest([], [], []) == []


def test_an_object_that_vanishes_is_reported_where_it_does():
    area = [1000] * 30 + [0] * 30
    found = suggest(table([0.97] * 60, area), [], [0])
    assert (found[0].frame, found[0].reason) == (30, "red vanished")


def test_a_sudden_change_of_area_is_told_in_percent():
    area = [1000] * 30 + [1600] * 30
    jump = [Evidence(motion=0.38 if frame == 30 else 0.05) for frame in range(60)]

    def changing(area: list[int]) -> list[ObjectStats]:
        return [replace(row, evidence=jump[row.frame]) for row in table([0.97] * 60, area)]

    found = suggest(changing(area), [], [0])
    assert (found[0].frame, found[0].reason) == (30, "red grew by 60 % in one frame")
    found = suggest(changing(area[::-1]), [], [0])
    assert found[0].reason == "red shrank by 38 % in one frame"


def test_frames_that_were_not_computed_make_no_sudden_change():
    rows = table([0.97] * 20, [1000] * 20) + table([0.97] * 20, [1600] * 20, first=40)
    assert not any("in one frame" in s.reason for s in suggest(rows, [], [0]))


def test_the_first_frame_of_a_new_shot_is_suggested():
    found = suggest(table([0.97] * 60), [25], [0])
    assert found[0].frame == 25
    assert "after a cut" in found[0].reason


def told(frames: int, **changes) -> list[ObjectStats]:
    """Rows on which nothing is unusual but what `changes` say: name=(frame, value)."""
    usual = {name: 0.1 for name in ("motion", "colour", "beside", "loose")}
    rows = table(steady(frames))
    return [
        replace(row, evidence=Evidence(**usual | {name: v for name, (at, v) in changes.items() if at == row.frame}))
        for row in rows
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"motion": (20, 0.9)}, "jumps against the motion of the picture"),
        ({"motion": (20, 0.9), "lost": (20, 0.3)}, "lost a part"),
        ({"motion": (20, 0.9), "gained": (20, 0.3)}, "gained a part"),
        ({"colour": (20, 0.9)}, "has colours unlike those where it was painted"),
        ({"beside": (20, 1.0)}, "may be cut short: its colours go on beside it"),
        ({"loose": (20, 0.9)}, "is in pieces"),
        ({"passes": (20, 0.9)}, "differs between the forward and the backward pass"),
    ],
)
def test_each_piece_of_evidence_is_told_in_its_own_words(changes, reason):
    found = suggest(told(60, **changes), [], [0])
    assert (found[0].frame, found[0].reason) == (20, f"red {reason}")


def test_what_is_the_same_on_every_frame_of_a_clip_speaks_against_none():
    rows = [replace(row, evidence=Evidence(0.6, 0.7, 0.8, 0.5)) for row in table(steady(60))]
    assert suggest(rows, [], [0]) == []


def test_distance_from_a_key_frame_is_no_finding():
    scores = frame_scores(table([0.9] * 101), key_frames=[0, 100])
    assert len({scores[frame] for frame in range(1, 100)}) == 1


def test_scores_of_objects_are_told_apart():
    rows = table(steady(60), object=1) + table(steady(60, f30=0.4), object=2)
    scores = object_scores(rows, [], [0])
    assert scores[30, 2] > 0.2 > scores[30, 1]
    assert scores[0, 2] == 0  # given


def test_the_most_doubtful_object_speaks_for_its_frame_under_its_own_name():
    rows = table(steady(60), object=1) + table(steady(60, f30=0.4), object=2)
    (first, *_) = suggest(rows, [], [0], names={2: "Anna's scarf"})
    assert (first.frame, first.object, first.reason) == (30, 2, "Anna's scarf certainty fell to 40 %")
    assert suggest(rows, [], [0])[0].reason.startswith("blue ")


def test_the_order_of_rows_does_not_matter():
    rng = np.random.default_rng(0)
    rows = table(rng.random(60)) + table(rng.random(60), object=2)
    mixed = [rows[n] for n in rng.permutation(len(rows))]
    assert suggest(mixed, [], [0]) == suggest(rows, [], [0])


def recorded() -> dict[str, tuple[list[ObjectStats], dict[int, float]]]:
    """Measures and J of xmem-lite at 384 pixels on the five clips that it was not trained on."""
    clips: dict[str, tuple[list[ObjectStats], dict[int, float]]] = {}
    with open(RECORDED, newline="") as file:
        for row in csv.DictReader(file):
            stats, j = clips.setdefault(row["clip"], ([], {}))
            frame, area = int(row["frame"]), int(row["area"])
            evidence = Evidence(**{name: float(row[name]) if row[name] else None for name in NAMES})
            stats.append(ObjectStats(frame, 1, area, float(row["certainty"]), 1.0, None, None, evidence))
            j[frame] = float(row["j"])
    return clips


def test_on_clips_never_trained_on_doubt_finds_the_bad_frames_and_three_of_them_lead_to_all():
    judgements = [judge(name, stats, j, given=0, count=3) for name, (stats, j) in recorded().items()]
    failing = [found for found in judgements if found.bad.any()]
    assert (len(judgements), len(failing)) == (5, 2)
    assert np.mean([found.auc for found in failing]) > 0.9  # 0.96 when recorded
    assert auc(*(np.concatenate([getattr(found, name) for found in judgements]) for name in ("scores", "bad"))) > 0.9
    assert all(found.covered > 0.6 and found.other_j - found.listed_j > 0.1 for found in failing)


def test_without_bad_frames_there_is_nothing_to_find():
    found = judge("good", table(steady(50)), dict.fromkeys(range(50), 0.9), given=0)
    assert np.isnan(found.auc) and np.isnan(found.covered)


def test_a_score_that_orders_frames_by_error_has_an_auc_of_one():
    errors = np.linspace(0, 0.5, 50)
    j = {n: float(1 - error) for n, error in enumerate(errors)}
    right = judge("right", table(1 - errors), j, given=0)
    assert right.auc == 1 and right.correlation == pytest.approx(1)
    assert right.listed_j < right.other_j
    wrong = judge("wrong", table(1 - errors[::-1]), j, given=0)
    assert wrong.auc < 0.1


def test_the_judgement_runs_a_network_and_prints_a_row_per_sequence(tmp_path, capsys, monkeypatch, tiny_model):
    monkeypatch.setattr("xmem.scoring.judge.load_model", lambda name, precision: tiny_model)
    from PIL import Image

    rng = np.random.default_rng(0)
    for folder in ("frames/a", "masks/a"):
        (tmp_path / folder).mkdir(parents=True)
    for n in range(5):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).save(tmp_path / f"frames/a/{n:05d}.png")
        mask = np.zeros((48, 64), np.uint8)
        mask[10:30, 10:30] = 1
        write_index_mask(tmp_path / f"masks/a/{n:05d}.png", mask)
    assert main([str(tmp_path), "--size", "48"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["sequence", "a", "mean", "AUC"]
    assert main([str(tmp_path / "nothing")]) == 2
