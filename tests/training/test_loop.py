"""The loop: it learns, it resumes exactly, its exported file is a checkpoint."""

import json
from dataclasses import replace

import pytest
import torch

from xmem.checkpoints import load_model
from xmem.errors import InputError
from xmem.networks.xmem import ModelSizes, XMem
from xmem.training.clips import ClipSource
from xmem.training.footage import Cutouts, Footage
from xmem.training.loop import RunSettings, Trainer
from xmem.training.recipe import LITE, RECIPES, Stage

TINY = replace(
    LITE,
    sizes=ModelSizes("lite", 8, 16, 8, (16, 16, 8), 16, 1),
    stages=(Stage(1.0, 3, ((64, 64),), 2),),
    batch_pixels=64 * 64,
    encoder_rate=6e-3,
    rate=6e-3,
    objects=(1.0,),
    frozen_blocks=1,
    hard_share=1.0,  # losses of all steps are comparable
)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source(world, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    footage = Footage.build([world / "data"], cache, exclude=("held",))
    return ClipSource(footage, Cutouts.build([world / "cutouts"], cache), real_share=1.0)


def trainer(source, folder, steps, validate=None, **settings) -> Trainer:
    torch.manual_seed(0)
    settings = {"workers": 0, "save_minutes": 0.0} | settings
    return Trainer(XMem(TINY.sizes), TINY, source, RunSettings(folder, steps=steps, **settings), CPU, validate)


def losses(folder) -> list[float]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if "loss" in record]


def test_the_loss_of_clips_that_are_seen_again_falls(source, tmp_path):
    run = trainer(source, tmp_path, steps=20)
    same = run.batch_jobs(3)
    run.batch_jobs = lambda step: same
    run.run()
    values = losses(tmp_path)
    assert len(values) == 20
    assert values[-1] < 0.7 * values[0]


def test_an_interrupted_run_continues_exactly(source, tmp_path):
    whole = trainer(source, tmp_path / "whole", steps=6)
    whole.run()
    stopped = trainer(source, tmp_path / "parts", steps=6)
    train_step = stopped._train_step

    def stop_after_three(batches):
        if stopped.step == 3:
            raise KeyboardInterrupt
        train_step(batches)

    stopped._train_step = stop_after_three
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    resumed = trainer(source, tmp_path / "parts", steps=6)
    assert resumed.resume() and resumed.step == 3
    resumed.run()
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    for name, value in whole.average.items():
        assert torch.equal(value, resumed.average[name]), name


def test_steps_after_the_last_save_are_logged_once(source, tmp_path):
    trainer(source, tmp_path, steps=2).run()
    with open(tmp_path / "log.jsonl", "a") as file:  # steps that an interruption lost
        file.write('{"step": 3, "loss": 9.0}\n')
    resumed = trainer(source, tmp_path, steps=3)
    resumed.resume()
    resumed.run()
    assert len(losses(tmp_path)) == 3 and 9.0 not in losses(tmp_path)


def test_workers_make_the_same_batches(source, tmp_path):
    trainer(source, tmp_path / "none", steps=2).run()
    trainer(source, tmp_path / "one", steps=2, workers=1).run()
    assert losses(tmp_path / "one") == losses(tmp_path / "none")


def test_the_best_average_is_exported_as_a_checkpoint(source, tmp_path):
    scores = iter([{"mean": 60.0}, {"mean": 50.0}])
    seen = []

    def validate(state):
        seen.append(state)
        return next(scores, {"mean": 55.0})

    run = trainer(source, tmp_path, steps=3, validate=validate, validate_minutes=0.0)
    run.run()
    assert len(seen) == 4 and run.best == 60.0
    model = load_model(tmp_path / "best.safetensors", "cpu")
    weight = "key_proj.key_proj.weight"
    torch.testing.assert_close(model.state_dict()[weight], seen[0][weight].half().float())
    assert not torch.equal(seen[0][weight], seen[1][weight])


def test_frozen_parts_and_statistics_stay(source, tmp_path):
    run = trainer(source, tmp_path, steps=2)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.run()
    after = run.model.state_dict()
    frozen = ("key_encoder.stem", "key_encoder.blocks.0.")
    fixed = [name for name in before if "running" in name or name.startswith(frozen)]
    assert fixed and all(torch.equal(before[name], after[name]) for name in fixed)
    trained = "key_encoder.blocks.5.expand.0.weight"
    assert not torch.equal(before[trained], after[trained])


def test_a_faulty_judge_does_not_end_the_training(source, tmp_path, caplog):
    run = trainer(source, tmp_path, steps=2, validate=lambda state: {}["missing"], validate_minutes=0.0)
    run.run()
    assert run.step == 2 and "validation failed" in caplog.text


def test_the_full_networks_encoders_train_too(source, tmp_path):
    recipe = replace(TINY, sizes=replace(TINY.sizes, encoder="resnet"), micro_batches=1, frozen_blocks=0)
    run = Trainer(XMem(recipe.sizes), recipe, source, RunSettings(tmp_path, steps=2, workers=0), CPU)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.run()
    after = run.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {"key_encoder.layer3.5.conv1.weight", "value_encoder.layer1.0.conv1.weight"} <= changed
    assert not any("running" in name for name in changed)


def test_a_run_needs_one_length(tmp_path):
    with pytest.raises(InputError, match="steps or a number of minutes"):
        RunSettings(tmp_path)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_rates_and_shares_of_the_recipes_fall_over_the_run(name):
    recipe = RECIPES[name]
    assert recipe.rate_factor(0.0) < 0.05 < recipe.rate_factor(0.05) and recipe.rate_factor(1.0) <= 0.1
    assert recipe.loss_share(0.0) == 1 and recipe.loss_share(1.0) == pytest.approx(0.15)
    assert all(side % 16 == 0 for stage in recipe.stages for size in stage.sizes for side in size)
