"""STCN through the public way gives the released numbers, and does in every setting what its plain form does."""

import json

import numpy as np
import pytest
import torch
from family_clips import ReferenceClip, boxes, made_up_frames
from plain_stcn import plain_stcn
from reference_weights import TOLERANCE, family_state

import xmem
from xmem.device import convolves
from xmem.errors import InputError
from xmem.families.stcn import STCNConfig

LEFT, MIDDLE, RIGHT = (4, 20, 2, 18), (10, 36, 20, 34), (2, 16, 38, 54)


@pytest.fixture(scope="module")
def model():
    return xmem.load_model(family_state("stcn"), device="cpu")


def elements(engine):
    """Of each object, in order of arrival."""
    groups = engine.memory._store.groups
    return [len(group.values) for group in groups for _ in range(group.objects)]


@pytest.mark.parametrize("name", ["late-object", "long-run"])
def test_every_frame_matches_the_released_implementation(name):
    clip = ReferenceClip("stcn", name)
    model = xmem.load_model(family_state("stcn", clip.salt), device="cpu")
    engine = xmem.Propagator(model, xmem.family_config("stcn", **clip.config))
    for t, (frame, expected) in enumerate(zip(clip.frames, clip.probabilities, strict=True)):
        prob = engine.step(frame, clip.masks.get(t), last=t == len(clip.frames) - 1)
        assert prob.dtype == torch.float32
        assert np.abs(prob.numpy() - expected[: len(prob)]).max() < TOLERANCE, f"frame {t}"
        assert not expected[len(prob) :].any(), "what has not arrived has no channel"
    assert elements(engine) == np.atleast_1d(clip.elements).tolist()


CASES = {
    "three objects, every frame read by the next": ({0: {1: LEFT, 2: MIDDLE, 3: RIGHT}}, {"include_last": True}),
    "memory frames close together": ({0: {1: LEFT, 2: MIDDLE}}, {"mem_every": 1, "top_k": 7}),
    "late objects, one on a memory frame's turn": (
        {1: {4: LEFT}, 4: {2: MIDDLE}, 6: {7: RIGHT}},
        {"mem_every": 3, "include_last": True},
    ),
    "a correction beside a new object": ({0: {1: LEFT, 2: RIGHT}, 5: {2: MIDDLE, 3: LEFT}}, {"mem_every": 2}),
}


@pytest.mark.parametrize("case", CASES)
def test_every_setting_does_what_the_plain_form_does(model, case):
    """Frames of 12 elements, so that fewer than top_k are held at first."""
    given, settings = CASES[case]
    masks = {t: boxes(**{f"id_{i}": place for i, place in own.items()}) for t, own in given.items()}
    frames = made_up_frames(9)
    expected, held = plain_stcn(model, frames, masks, **settings)
    engine, ids = xmem.Propagator(model, STCNConfig(**settings)), sorted({i for own in given.values() for i in own})
    for t, frame in enumerate(frames):
        prob = engine.step(frame, masks.get(t), last=t == len(frames) - 1)
        if t in expected:
            channels = [0, *(1 + ids.index(i) for i in engine.objects)]
            assert (prob - expected[t][channels]).abs().max() < 1e-5, f"frame {t}"
    assert sorted(elements(engine)) == sorted(held)


def test_a_limit_of_frames_keeps_the_first_and_the_latest(model):
    """As much as is asked for; without the limit, memory grows."""
    frames, mask = made_up_frames(8), boxes(id_1=LEFT)
    sizes = {}
    for limit in (3, None):
        engine = xmem.Propagator(model, STCNConfig(mem_every=1, max_memory_frames=limit))
        for t, frame in enumerate(frames):
            engine.step(frame, mask if t == 0 else None)
        sizes[limit] = engine.memory_use().working // 12
    assert sizes == {3: 3, None: 8}


def test_key_frames_are_kept_for_good_and_read_by_all(model):
    """Also where a later one speaks for a new object only: the others are predicted there."""
    frames = made_up_frames(6)
    engine = xmem.Propagator(model, STCNConfig(mem_every=1, max_memory_frames=2))
    engine.remember(frames[0], boxes(id_1=LEFT))
    engine.remember(frames[5], boxes(id_2=RIGHT))
    for frame in frames:
        prob = engine.step(frame)
    assert prob.shape[0] == 3 and torch.isfinite(prob).all()
    assert (engine.memory_use().permanent, engine.memory_use().working) == (2 * 12, 2 * 12)


@pytest.mark.skipif(not convolves(torch.bfloat16), reason="this CPU does not compute in bfloat16")
def test_half_precision_stays_finite():
    model = xmem.load_model(family_state("stcn"), device="cpu", precision="bfloat16")
    engine = xmem.Propagator(model, STCNConfig(mem_every=2))
    masks = {0: boxes(id_1=LEFT, id_2=RIGHT), 3: boxes(id_3=MIDDLE)}
    for t, frame in enumerate(made_up_frames(5)):
        prob = engine.step(frame, masks.get(t))
        assert prob.dtype == torch.float32 and torch.isfinite(prob).all()
    assert torch.allclose(prob.sum(0), torch.ones(()), atol=1e-5)


def test_what_is_saved_goes_on_as_the_saved_one_does(model):
    """After each frame but the last, among them frames that are read once, and one past the limit."""
    frames, masks, config = (
        made_up_frames(8),
        {0: boxes(id_1=LEFT), 3: boxes(id_2=RIGHT)},
        STCNConfig(mem_every=3, include_last=True, max_memory_frames=2),
    )
    engine = xmem.Propagator(model, config)
    engine.remember(frames[7], boxes(id_1=LEFT, id_2=RIGHT))
    copies = []
    for t, frame in enumerate(frames[:7]):
        expected = engine.step(frame, masks.get(t))
        for copy in copies:
            assert torch.equal(copy.step(frame, masks.get(t)), expected)
        tensors, values = engine.video_state.save()
        copy = xmem.Propagator(model, config)
        copy.video_state.load({name: x.clone() for name, x in tensors.items()}, json.loads(json.dumps(values)))
        copy.frame_index = t
        copies = [copies[-1], copy] if copies else [copy]
        assert copy.memory_use() == engine.memory_use()


def test_smaller_pieces_give_the_same_numbers(model, monkeypatch):
    frames, mask = made_up_frames(4), boxes(id_1=LEFT, id_2=MIDDLE, id_3=RIGHT)

    def run():
        engine = xmem.Propagator(model, STCNConfig(mem_every=1))
        return [engine.step(frame, mask if t == 0 else None) for t, frame in enumerate(frames)]

    expected, decode, most = run(), model.decode, []

    def narrow(image, readout, pieces):
        most.append(pieces.objects or readout.shape[1])
        if most[-1] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return decode(image, readout, pieces)

    monkeypatch.setattr(model, "decode", narrow)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(run(), expected, strict=True))
    assert most == [3, 1, 1, 1]


def test_settings_have_the_released_names_and_defaults():
    assert xmem.family_config("stcn") == STCNConfig(mem_every=5, top_k=20, include_last=False)
    assert xmem.family_config("stcn", mode="davis", mem_every=3, include_last=True) == STCNConfig(3, include_last=True)
    for settings, sentence in (
        ({"mode": "other"}, "no mode 'other'"),
        ({"deep_update_every": 2}, "no setting deep_update_every"),
        ({"top_k": 0}, "top_k must be at least 1"),
    ):
        with pytest.raises(InputError, match=sentence):
            xmem.family_config("stcn", **settings)
    with pytest.raises(InputError, match="max_memory_frames must be at least 2"):
        STCNConfig(max_memory_frames=1)
