"""`python -m xmem train` from its arguments to its files."""

import argparse

import pytest
import torch
from safetensors.torch import save_file

from xmem.cli import train as cli
from xmem.errors import InputError
from xmem.networks.xmem import XMem, lite_sizes
from xmem.training import yardstick


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_one_step_of_the_embedded_network_leaves_a_validated_checkpoint(world, tmp_path):
    words = ("--data", world / "data", "--cutouts", world / "cutouts", "--stills", world / "stills", "--tune")
    held = ("--hold-back", "held", "--select-by", "held")
    small = (
        "--out",
        tmp_path,
        "--steps",
        1,
        "--workers",
        0,
        "--batch-scale",
        0.1,
        "--device",
        "cpu",
        "--validate-size",
        48,
    )
    assert cli.run(arguments(*words, *held, *small)) == 0
    assert {"state.pt", "best.safetensors", "log.jsonl"} <= {path.name for path in tmp_path.iterdir()}
    assert '"held"' in (tmp_path / "log.jsonl").read_text()


def test_weights_of_the_same_network_are_a_start(tmp_path):
    torch.manual_seed(0)
    before, after = XMem(lite_sizes()), XMem(lite_sizes())
    save_file(before.state_dict(), tmp_path / "start.safetensors")
    cli.initialise(after, tmp_path / "start.safetensors")
    assert torch.equal(before.decoder.pred.weight, after.decoder.pred.weight)


def test_weights_of_another_network_are_refused(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="does not hold weights for this network"):
        cli.initialise(XMem(lite_sizes()), tmp_path / "other.safetensors")


def test_without_a_word_the_yardstick_is_neither_trained_on_nor_lost_sight_of(world, tmp_path):
    args = arguments("--data", world / "data", "--steps", 1)
    assert args.hold_back == yardstick.held_back()
    assert cli.choose_judges(world / "data", None) == ()  # none of it is there
    assert cli.choose_judges(world / "data", ["held"]) == ("held",)
    with pytest.raises(InputError, match="no sequence 'lost'"):
        cli.choose_judges(world / "data", ["lost"])


def test_checkpoints_are_chosen_by_a_part_of_what_is_held_back():
    names = yardstick.held_back()
    assert len(set(names)) == len(names) and set(yardstick.selecting()) < set(names)


def test_a_network_without_a_later_recipe_is_refused():
    with pytest.raises(InputError, match="leave out --tune"):
        cli.choose_recipe("XMem", tune=True)
