"""A released file of any family, put in place, is found and used by the page, with settings of its own."""

import pytest
import torch
from demo_clips import index_of
from reference_weights import family_state

from demo import api
from demo.runs import models
from demo.stage import paint
from demo.visit import studio
from xmem.checkpoints import REGISTRY
from xmem.families import FAMILIES

NAMES = {"stcn": "STCN", "stm": "STM", "aot": "R50-AOTL", "cutie": "Cutie-base-mega"}


@pytest.mark.parametrize("family", NAMES)
def test_a_released_file_put_in_place_is_found_and_used(family, visitor, session, monkeypatch, tmp_path):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path / "kept"))
    (tmp_path / "kept").mkdir()
    name = NAMES[family]
    weights = {key: torch.from_numpy(value) for key, value in family_state(family).items()}
    if family == "aot":  # as its training leaves them; STM's names have their prefix in any case
        weights = {"state_dict": {f"module.{key}": value for key, value in weights.items()}}
    torch.save(weights, tmp_path / "kept" / REGISTRY[name].file_name)
    assert f"{name} · at hand" in [label for label, _ in models.model_choices()]
    session.set_trim(0, 3)
    paint.paint(session, 0, index_of((1, 60, 90, 40, 120)))

    asked = {"model": name, "size": 64, "memory": {"mem_every": 2}}
    assert api.estimate(visitor, **asked)["seconds"] > 0
    *steps, described = api.propagate(visitor, direction="forward", **asked)
    assert steps[-1]["done"] == 4 and described["pending"] == []
    after = studio.session_of(visitor)
    assert after.settings.model == name and after.settings.memory == FAMILIES[family].config(mem_every=2)
    assert len(api.timeline(visitor)["objects"][0]["frames"]) == 4
