"""Training of the click network: what it is shown, what it never is, and that a step is possible and can be resumed."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch

from tests.training.test_train import arguments
from xmem.cli import train as cli
from xmem.networks.click import ClickNet
from xmem.training import clicks
from xmem.training.recipe import RECIPES


@pytest.fixture
def stills(world, tmp_path):
    """The world's three stills as a set of which some are held back, beside a set with one of the same images."""
    for name in ("ecssd", "others"):
        shutil.copytree(world / "stills", tmp_path / name)
    for kind in ("frames", "masks"):
        (tmp_path / "others" / kind / "all" / "1.png").unlink()
    return [tmp_path / "ecssd", tmp_path / "others"]


def test_held_back_stills_are_left_out_and_so_is_what_looks_like_them(stills, tmp_path):
    assert [clicks.is_held_back(stills[0], stem) for stem in "012"] == [True, False, False]
    rng = np.random.default_rng(0)
    for stem in "12":  # unlike the held-back one
        other = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        for root in stills:
            if (root / "frames" / "all" / f"{stem}.png").exists():
                size = cv2.imread(str(root / "masks" / "all" / f"{stem}.png")).shape[1::-1]
                cv2.imwrite(str(root / "frames" / "all" / f"{stem}.png"), cv2.resize(other, size))
    assert len(clicks.ClickStills.build(stills, tmp_path / "cache")) == 3  # ecssd 1 and 2, others 2
    assert len(list(clicks.held_back(stills[0]))) == 1 and not list(clicks.held_back(stills[1]))


def test_stills_with_several_objects_come_as_often_as_is_said(tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("frames", "masks"):
        (tmp_path / "set" / kind / "all").mkdir(parents=True)
    for name, objects in (("one", 1), ("two", 2)):
        mask = np.zeros((32, 32), np.uint8)
        mask[4:12, 4:12], mask[20:28, 20:28] = 1, objects
        cv2.imwrite(str(tmp_path / "set" / "frames" / "all" / f"{name}.png"), rng.integers(0, 255, (32, 32, 3)))
        cv2.imwrite(str(tmp_path / "set" / "masks" / "all" / f"{name}.png"), mask)
    stills = clicks.ClickStills.build([tmp_path / "set"], tmp_path / "cache")
    drawn = [stills.pick(rng).masks.max() for _ in range(400)]
    share = drawn.count(2) / 400
    assert share > 0.7 and abs(share - clicks.SEVERAL / (clicks.SEVERAL + 1)) < 0.05


def test_a_run_trains_judges_and_goes_on_where_it_was(world, stills, tmp_path):
    words = ("--model", "xmem-click", "--data", world / "data", "--cutouts", world / "cutouts", "--stills", *stills)
    small = ("--out", tmp_path / "run", "--workers", 0, "--batch-scale", 0.2, "--device", "cpu")
    assert cli.run(arguments(*words, *small, "--steps", 1)) == 0
    assert cli.run(arguments(*words, *small, "--steps", 2, "--tune")) == 0
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "loss" in line] == [1, 2]
    assert {"mean", "ecssd@1", "ecssd@3"} == log[-1]["validation"].keys()
    assert (tmp_path / "run" / "best.safetensors").stat().st_size < 6e6


def test_the_encoders_first_blocks_and_norms_stay_and_the_rest_learns():
    torch.manual_seed(0)
    model = ClickNet()
    clicks.prepare(model, RECIPES["xmem-click"])
    assert not model.stem[0].weight.requires_grad and not model.blocks[0].project[0].weight.requires_grad
    assert model.blocks[-1].project[0].weight.requires_grad and not model.blocks[-1].project[1].training
    assert model.smooth[1].training


def test_each_round_adds_a_click_where_the_mask_errs():
    truth = np.zeros((1, 48, 64), bool)
    truth[0, 10:30, 10:40] = True
    rounds = clicks.Round(truth, truth.astype(np.uint8), None, (96, 128))
    given = rounds.given(torch.device("cpu"))
    assert given.clicks[0, 0, 2] == 1 and given.has_previous[0] == 0
    too_much = torch.full((1, 1, 48, 64), 5.0)
    rounds.answer(too_much)
    given = rounds.given(torch.device("cpu"))
    assert given.clicks[0, 1, 2] == 0 and given.has_previous[0] == 1 and given.clicks[0, 2, 2] == -1


def test_the_loss_falls_to_the_right_answer():
    truth = torch.zeros(1, 1, 16, 16)
    truth[..., 4:12, 4:12] = 1
    right, half, wrong = (clicks.click_loss(sign * 8 * (truth - 0.5), truth) for sign in (2, 0.01, -2))
    assert right < 0.01 < half < wrong
