"""What is measured, from presets and flags."""

import argparse

import pytest

from xmem.benchmark.cases import PRESETS, Case, Sweep, plan
from xmem.cli.benchmark import add_arguments, chosen_sweeps
from xmem.errors import InputError


def sweeps(*words: str) -> list[Sweep]:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return chosen_sweeps(parser.parse_args(list(words)))


def test_one_axis_is_varied_at_a_time_around_the_first_values():
    cases = list(Sweep(models=("a", "b"), sizes=(480, 240), objects=(1, 3, 10), frames=(20,)).cases())
    around = [(480, 1), (240, 1), (480, 3), (480, 10)]
    assert [(case.model, case.size, case.objects) for case in cases] == [
        (model, *point) for model in ("a", "b") for point in around
    ]


def test_auto_stands_for_a_precision_and_none_is_measured_twice():
    sweep = Sweep(precisions=("auto", "float32", "float16", "bfloat16"))
    cases = plan([sweep, sweep], auto="bfloat16", usable=("float32", "bfloat16"))
    assert [case.precision for case in cases] == ["bfloat16", "float32"]


def test_flags_take_the_place_of_a_presets_values():
    chosen = sweeps("--sizes", "64", "96", "--objects", "2", "--frames", "30", "--long-term", "off")
    cases = plan(chosen, auto="float32", usable=("float32",))
    assert {case.size for case in cases} == {64, 96}
    assert {(case.objects, case.frames, case.long_term) for case in cases} == {(2, 30, False)}
    assert {case.model for case in cases} == {"xmem-lite", "XMem"}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_planned(name):
    cases = plan(sweeps("--preset", name), auto="float32", usable=("float32",))
    assert cases and all(isinstance(case, Case) for case in cases)
    assert len(set(cases)) == len(cases)


@pytest.mark.parametrize(
    "words, reason",
    [
        (("--preset", "huge"), "no preset 'huge'"),
        (("--sizes", "481"), "481 pixels"),
        (("--sizes", "8"), "8 pixels"),
        (("--objects", "0"), "0 objects"),
        (("--frames", "1"), "1 frames"),
        (("--models", "xmem-huge"), "no checkpoint 'xmem-huge'"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(words, reason):
    with pytest.raises(InputError, match=reason):
        sweeps(*words)
