"""STM through the public way gives the released numbers, and does in every setting what its plain form does."""

import json

import numpy as np
import pytest
import torch
from family_clips import ReferenceClip, boxes, made_up_frames
from plain_stm import plain_stm
from reference_weights import TOLERANCE, family_state

import xmem
from xmem.device import convolves
from xmem.errors import InputError
from xmem.families.stm import STMConfig

LEFT, MIDDLE, RIGHT = (4, 20, 2, 18), (10, 36, 20, 34), (2, 16, 38, 54)


@pytest.fixture(scope="module")
def model():
    return xmem.load_model(family_state("stm"), device="cpu")


@pytest.mark.parametrize("name", ["two-objects", "long-run"])
def test_every_frame_matches_the_released_implementation(name):
    clip = ReferenceClip("stm", name)
    model = xmem.load_model(family_state("stm", clip.salt), device="cpu")
    engine = xmem.Propagator(model, xmem.family_config("stm", **clip.config))
    for t, (frame, expected) in enumerate(zip(clip.frames, clip.probabilities, strict=True)):
        prob = engine.step(frame, clip.masks.get(t), last=t == len(clip.frames) - 1)
        assert prob.dtype == torch.float32
        assert np.abs(prob.numpy() - expected).max() < TOLERANCE, f"frame {t}"


@pytest.mark.parametrize(
    ("mask", "settings"),
    [
        (boxes(id_1=LEFT, id_2=MIDDLE, id_3=RIGHT), {"mem_every": 2}),
        (boxes(id_2=LEFT, id_9=RIGHT), {"mem_every": 1}),
        (boxes(id_1=LEFT), {"mem_every": 4, "channels": 2}),
    ],
    ids=["three objects", "ids that do not follow each other", "no unused channels"],
)
def test_every_setting_does_what_the_plain_form_does(model, mask, settings):
    frames = made_up_frames(9)
    expected, elements = plain_stm(model, frames, mask, **settings)
    engine = xmem.Propagator(model, STMConfig(**settings))
    for t, frame in enumerate(frames):
        prob = engine.step(frame, mask if t == 0 else None, last=t == len(frames) - 1)
        assert (prob - expected[t]).abs().max() < 1e-5, f"frame {t}"
    assert engine.memory_use().working == elements


def test_a_late_object_gets_one_sentence_and_loses_nothing(model):
    frames, mask = made_up_frames(4), boxes(id_1=LEFT)
    plain, engine = (xmem.Propagator(model, STMConfig()) for _ in range(2))
    for t, frame in enumerate(frames[:3]):
        plain.step(frame, mask if t == 0 else None)
        engine.step(frame, mask if t == 0 else None)
    with pytest.raises(InputError, match=r"STM cannot take object 2 late: give all objects with the first mask"):
        engine.step(frames[3], boxes(id_1=LEFT, id_2=RIGHT))
    assert torch.equal(engine.step(frames[3]), plain.step(frames[3])) and engine.objects == [1]


def test_more_objects_than_channels_get_one_sentence(model):
    engine = xmem.Propagator(model, STMConfig(channels=3))
    with pytest.raises(InputError, match="STM takes 2 objects, not 3: give fewer, or raise `channels`"):
        engine.step(made_up_frames(1)[0], boxes(id_1=LEFT, id_2=MIDDLE, id_3=RIGHT))


def test_a_correction_overrides_one_object_and_leaves_the_other_predicted(model):
    """Given for all, a mask is taken as it is; given for one, the other keeps its probability outside of it."""
    frames, corrected = made_up_frames(4), boxes(id_1=MIDDLE)
    first = boxes(id_1=LEFT, id_2=RIGHT)
    engine, plain = (xmem.Propagator(model, STMConfig()) for _ in range(2))
    for t, frame in enumerate(frames[:3]):
        prob = engine.step(frame, first if t == 0 else None)
        plain.step(frame, first if t == 0 else None)
        if t == 0:
            assert torch.equal(prob.argmax(0), torch.from_numpy(first).long()) and set(prob.unique().tolist()) == {0, 1}
    free, prob = plain.step(frames[3]), engine.step(frames[3], corrected)
    claimed = torch.from_numpy(corrected == 1)
    assert (prob[1][claimed] > 0.99).all() and (prob[1][~claimed] < 0.01).all() and (prob[2][claimed] < 0.01).all()
    kept = free[2][~claimed]
    odds = (kept / (1 - kept)) ** 2  # of the object against the background, which is where the object is not
    assert torch.allclose(prob[2][~claimed], odds / (1 + odds), atol=1e-4)
    assert torch.allclose(prob.sum(0), torch.ones(()), atol=1e-5)


def test_key_frames_are_kept_for_good(model):
    frames = made_up_frames(6)
    engine = xmem.Propagator(model, STMConfig(mem_every=1, max_memory_frames=2))
    engine.remember(frames[0], boxes(id_1=LEFT, id_2=RIGHT))
    engine.remember(frames[5], boxes(id_2=MIDDLE))
    for frame in frames:
        prob = engine.step(frame)
    assert prob.shape[0] == 3 and torch.isfinite(prob).all()
    assert (engine.memory_use().permanent, engine.memory_use().working) == (2 * 12, 2 * 12)


@pytest.mark.skipif(not convolves(torch.bfloat16), reason="this CPU does not compute in bfloat16")
def test_half_precision_stays_finite():
    model = xmem.load_model(family_state("stm"), device="cpu", precision="bfloat16")
    engine = xmem.Propagator(model, STMConfig(mem_every=2))
    for t, frame in enumerate(made_up_frames(5)):
        prob = engine.step(frame, boxes(id_1=LEFT, id_2=RIGHT) if t == 0 else None)
        assert prob.dtype == torch.float32 and torch.isfinite(prob).all()
    assert torch.allclose(prob.sum(0), torch.ones(()), atol=1e-5)


def test_what_is_saved_goes_on_as_the_saved_one_does(model):
    """After each frame but the last, among them frames that are read once, and one past the limit."""
    frames, masks, config = (
        made_up_frames(8),
        {0: boxes(id_1=LEFT, id_2=RIGHT)},
        STMConfig(mem_every=3, max_memory_frames=2),
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
        engine = xmem.Propagator(model, STMConfig(mem_every=1))
        return [engine.step(frame, mask if t == 0 else None) for t, frame in enumerate(frames)]

    expected, encode, most = run(), model.encode_memory, []

    def narrow(image, masks, pieces):
        most.append(pieces.objects or masks.shape[1])
        if most[-1] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return encode(image, masks, pieces)

    monkeypatch.setattr(model, "encode_memory", narrow)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(run(), expected, strict=True))
    assert most == [3, 1, 1, 1, 1]


def test_settings_have_the_released_names_and_defaults():
    assert xmem.family_config("stm") == STMConfig(mem_every=5, channels=11)
    assert xmem.family_config("stm", mem_every=3, channels=11) == STMConfig(3)
    for settings, sentence in (
        ({"top_k": 20}, "no setting top_k"),
        ({"mem_every": 0}, "mem_every must be at least 1"),
        ({"channels": 1}, "channels must be at least 2"),
    ):
        with pytest.raises(InputError, match=sentence):
            xmem.family_config("stm", **settings)
