"""Cutie through the public way gives the released implementation's numbers, and in every setting the plain form's."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_cutie import PlainCutie
from reference_weights import FOLDER, family_state
from tiny_cutie import tiny_state

import xmem
from xmem.checkpoints import REGISTRY
from xmem.device import convolves
from xmem.errors import InputError
from xmem.families.cutie import CutieConfig
from xmem.networks.cutie import load_state
from xmem.pieces import Pieces

TOLERANCE = 1e-4
HEIGHT, WIDTH, FRAMES = 40, 60, 11  # padded on all sides
# released names: sizes at which each limit matters within a few frames
QUEUE = {"mem_every": 3, "stagger_updates": 5, "top_k": 5, "use_long_term": False, "max_mem_frames": 3}
SHORT = {"min_mem_frames": 2, "max_mem_frames": 3, "num_prototypes": 4, "max_num_tokens": 9, "buffer_tokens": 2}
LONG = {"mem_every": 1, "stagger_updates": 1, "top_k": 5, "use_long_term": True, "max_mem_frames": 3}
QUEUE["long_term"] = LONG["long_term"] = SHORT


@pytest.fixture(scope="module")
def tiny():
    return xmem.load_model(tiny_state(), device="cpu")


@pytest.fixture(scope="module")
def plain_network():
    """Without folded batch norms and other means of speed."""
    return load_state(tiny_state())


@pytest.mark.parametrize(
    ("name", "convolutions"),
    [("late-object", "as measured"), ("long-run", "as measured"), ("late-object", "all Winograd")],
)
def test_every_frame_matches_the_released_implementation(name, convolutions, monkeypatch):
    """Also where every 3x3 convolution goes Winograd's way, whatever its size."""
    if convolutions == "all Winograd":
        monkeypatch.setattr("xmem.networks.cpu.winograd_layer.gain", lambda *_: 2.0)
    reference = np.load(FOLDER / "families" / "cutie" / f"{name}.npz")
    model = xmem.load_model(family_state("cutie", int(reference["salt"])), device="cpu")
    engine = xmem.Propagator(model, xmem.family_config("cutie", **json.loads(str(reference["config"]))))
    end = len(reference["frames"]) - 1
    for t, frame in enumerate(reference["frames"]):
        prob = engine.step(frame, reference.get(f"mask_{t}"), last=t == end)
        assert prob.dtype == torch.float32
        assert np.abs(prob.numpy() - reference[f"prob_{t}"]).max() < TOLERANCE, f"frame {t}"
    for kind in ("working_elements", "permanent_elements", "long_term_elements"):
        assert getattr(engine.memory, kind) == reference.get(kind, np.zeros(len(engine.memory.buckets))).tolist()


def textures() -> list[np.ndarray]:
    """Frames of moving waves."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    frames = []
    for t in range(FRAMES):
        wave = np.sin(x / 5 + t / 3) + np.cos(y / 7 - t / 4)
        colours = (127 + 60 * wave, 127 + 80 * np.sin(2 * wave + t / 5), 100 + 50 * np.cos(x * y / 300 + t / 6))
        frames.append(np.stack(colours, 2).clip(0, 255).astype(np.uint8))
    return frames


def boxes(**corners: tuple[int, int]) -> np.ndarray:
    """An index mask: id1=(y, x) puts object 1 there."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for name, (y, x) in corners.items():
        mask[y : y + 16, x : x + 20] = int(name.removeprefix("id"))
    return mask


LATE = {0: boxes(id1=(4, 6)), 4: boxes(id2=(20, 32))}
CORRECTED = {0: boxes(id1=(4, 6), id2=(20, 32)), 4: boxes(id2=(15, 30)), 7: boxes(id1=(6, 9), id2=(18, 30))}
BOTH_NEW_AND_KNOWN = {0: boxes(id1=(4, 6)), 4: boxes(id1=(5, 9), id2=(20, 32), id3=(2, 38)), 8: boxes(id4=(22, 2))}


def largest_difference(model, plain_network, settings: dict, masks: dict[int, np.ndarray]) -> float:
    """Between the engine's probabilities and the plain form's, over a clip; memories are of the same size."""
    engine = xmem.Propagator(model, xmem.family_config("cutie", **settings))
    plain, worst = PlainCutie(plain_network, settings), 0.0
    with torch.inference_mode():
        for t, frame in enumerate(textures()):
            ours = engine.step(frame, masks.get(t), last=t == FRAMES - 1)
            theirs = plain.step(frame, masks.get(t), end=t == FRAMES - 1)
            worst = max(worst, float((ours - theirs).abs().max()))
    held = [sum(frame.key.shape[1] for frame in bucket.frames) for bucket in plain.buckets]
    assert engine.memory.working_elements == held
    long_term = [len(bucket.long_term.use) if bucket.long_term else 0 for bucket in plain.buckets]
    assert engine.memory.long_term_elements == long_term
    return worst


SETTINGS = {
    "queue": QUEUE,
    "one frame of queue": {**QUEUE, "max_mem_frames": 2},
    "the first frame alone": {**QUEUE, "max_mem_frames": 1},
    "staggered: first and last": {**QUEUE, "mem_every": 4, "stagger_updates": 2},
    "staggered: 2.5 is rounded to 2": {**QUEUE, "mem_every": 4, "stagger_updates": 3},
    "staggered: first": {**QUEUE, "stagger_updates": 1},
    "top-k beyond what there is": {**QUEUE, "top_k": 1000},
    "long-term": LONG,
    "long-term without a buffer": {
        **LONG,
        "mem_every": 2,
        "stagger_updates": 2,
        "long_term": {**SHORT, "buffer_tokens": 0},
    },
}


@pytest.mark.parametrize("masks", [LATE, CORRECTED, BOTH_NEW_AND_KNOWN], ids=["late", "corrected", "new and known"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_every_setting_gives_the_plain_form(tiny, plain_network, settings, masks):
    assert largest_difference(tiny, plain_network, settings, masks) < 2e-5


@pytest.mark.parametrize(
    "change", [{"mem_every": 2}, {"stagger_updates": 1}, {"top_k": 4}, {"max_mem_frames": 2}], ids=list
)
def test_every_setting_matters(tiny, change):
    """So that the comparisons above can fail."""
    engines = [xmem.Propagator(tiny, xmem.family_config("cutie", **s)) for s in (QUEUE, {**QUEUE, **change})]
    difference = 0.0
    for t, frame in enumerate(textures()):
        first, second = (engine.step(frame, LATE.get(t)) for engine in engines)
        difference = max(difference, float((first - second).abs().max()))
    assert difference > 1e-2


def test_channels_are_in_the_order_of_ids_whenever_objects_arrive(tiny):
    masks = {0: boxes(id7=(4, 6)), 3: boxes(id2=(20, 32))}
    renamed = {0: boxes(id1=(4, 6)), 3: boxes(id2=(20, 32))}
    engine, other = xmem.Propagator(tiny), xmem.Propagator(tiny)
    for t, frame in enumerate(textures()[:5]):
        prob, expected = engine.step(frame, masks.get(t)), other.step(frame, renamed.get(t))
        if t >= 3:
            assert engine.objects == [2, 7]
            assert torch.equal(prob, expected[[0, 2, 1]])


def test_frames_before_the_first_mask_change_nothing(tiny):
    early, late = xmem.Propagator(tiny), xmem.Propagator(tiny)
    frames = textures()
    assert (early.step(frames[5]) == 1).all()
    early.step(frames[6])
    for t, frame in enumerate(frames[:4]):
        assert torch.equal(early.step(frame, LATE.get(t)), late.step(frame, LATE.get(t)))


def test_a_frame_that_may_not_be_remembered_is_not_and_the_next_one_is(tiny):
    engine = xmem.Propagator(tiny, CutieConfig(mem_every=2))
    frame_elements, held = 12, []
    for t, frame in enumerate(textures()[:5]):
        engine.step(frame, LATE.get(t) if t == 0 else None, remember=t != 2)
        held.append(engine.memory_use().working // frame_elements)
    assert held == [0, 0, 0, 1, 1]
    assert engine.memory_use().permanent == frame_elements


def test_given_masks_stay_hard_where_frames_are_resized(tiny):
    """As in the released evaluation; XMem's become soft."""
    prob = xmem.Propagator(tiny, size=24).step(textures()[0], LATE[0], full_size=False)
    assert prob.shape == (2, 24, 36) and ((prob < 1e-5) | (prob > 1 - 1e-5)).all()
    assert (prob[1] > 0.5).float().mean() == pytest.approx((LATE[0] > 0).mean(), abs=0.02)


def test_smaller_pieces_give_the_same_numbers(tiny):
    """As where the device's memory is full: objects one at a time, few distances."""
    whole, parts = (xmem.Propagator(tiny, xmem.family_config("cutie", **QUEUE)) for _ in range(2))
    parts._pieces = Pieces(objects=1, distances=50)
    for t, frame in enumerate(textures()):
        expected = whole.step(frame, BOTH_NEW_AND_KNOWN.get(t))
        assert torch.allclose(parts.step(frame, BOTH_NEW_AND_KNOWN.get(t)), expected, atol=1e-5)


def test_a_step_that_ran_out_of_memory_is_done_again_in_smaller_pieces(tiny, monkeypatch):
    config = xmem.family_config("cutie", **QUEUE)
    engine, other = xmem.Propagator(tiny, config), xmem.Propagator(tiny, config)
    decode, failures = tiny.decode, []

    def fail_once(*arguments):
        if not failures:
            failures.append(arguments)
            raise torch.OutOfMemoryError("out of memory")
        return decode(*arguments)

    for t, frame in enumerate(textures()[:6]):
        expected = other.step(frame, CORRECTED.get(t))
        with monkeypatch.context() as patch:
            if t == 4:
                patch.setattr(tiny, "decode", fail_once)
            prob = engine.step(frame, CORRECTED.get(t))
        assert torch.allclose(prob, expected, atol=1e-5)
    assert failures and engine._pieces.objects == 1


def test_key_frames_are_permanent_and_known_from_the_first_frame_on(tiny):
    engine = xmem.Propagator(tiny, xmem.family_config("cutie", **QUEUE))
    frames = textures()
    engine.remember(frames[8], boxes(id1=(8, 20)))
    engine.remember(frames[9], boxes(id2=(20, 2)))
    for frame in frames:
        prob = engine.step(frame)
        assert prob.shape == (3, HEIGHT, WIDTH) and torch.allclose(prob.sum(0), torch.ones(HEIGHT, WIDTH))
    assert engine.memory.permanent_elements == [24, 12]
    assert engine.memory.working_elements == [24 + 24, 12 + 24]


@pytest.mark.parametrize("settings", [QUEUE, LONG], ids=["queue", "long-term"])
def test_a_saved_state_goes_on_as_it_would_have(tiny, settings):
    config = xmem.family_config("cutie", **settings)
    engine, frames = xmem.Propagator(tiny, config), textures()
    for t, frame in enumerate(frames[:7]):
        engine.step(frame, LATE.get(t))
    tensors, values = engine.video_state.save()
    tensors, values = {name: tensor.clone() for name, tensor in tensors.items()}, json.loads(json.dumps(values))
    again = xmem.Propagator(tiny, config)
    again.video_state.load(tensors, values)
    again.frame_index = engine.frame_index
    for frame in frames[7:]:
        assert torch.equal(again.step(frame), engine.step(frame))
    assert again.memory_use() == engine.memory_use()


def test_memory_is_flat_in_length(tiny):
    """Without long-term memory and with it."""
    for settings in (QUEUE, LONG):
        engine, held = xmem.Propagator(tiny, xmem.family_config("cutie", **settings)), []
        for t, frame in enumerate(textures() * 2):
            engine.step(frame, LATE.get(t))
            held.append(engine.memory_use().bytes)
        assert max(held[FRAMES:]) <= max(held[8:FRAMES])


@pytest.mark.skipif(not convolves(torch.bfloat16), reason="this CPU does not compute in bfloat16")
def test_half_precision_stays_finite_and_near(tiny):
    exact = xmem.Propagator(tiny)
    half = xmem.Propagator(xmem.load_model(tiny_state(), device="cpu", precision="bfloat16"))
    for t, frame in enumerate(textures()):
        prob, expected = half.step(frame, LATE.get(t)), exact.step(frame, LATE.get(t))
        assert prob.dtype == torch.float32 and prob.isfinite().all()
        assert (prob - expected).abs().mean() < 0.05


def test_weights_of_another_family_are_told_apart(tiny):
    """Cutie's have the names of XMem's key projection, too."""
    assert xmem.families.family_of(tiny).name == "cutie"
    with pytest.raises(InputError, match="not a Cutie checkpoint"):
        xmem.load_model({name: value for name, value in tiny_state().items() if "mask_decoder" not in name})
    with pytest.raises(InputError, match="MemoryConfig holds no settings of Cutie"):
        xmem.Propagator(tiny, xmem.MemoryConfig())


def test_the_released_file_is_found_by_its_name(tmp_path, monkeypatch):
    """With all that a released file holds: what serves training alone, and a formula's values."""
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))
    name = "Cutie-base-mega"
    monkeypatch.setitem(REGISTRY, name, replace(REGISTRY[name], variant="resnet18"))  # a small file
    names = ("object_transformer.spatial_pe.inv_freq", "object_summarizer.pos_enc.inv_freq")
    position = dict.fromkeys(names, 128.0 ** (-torch.arange(8) / 8))
    aside = {"aux_computer.sensory_aux.projection.bias": torch.zeros(33)}
    torch.save({**tiny_state(), **position, **aside}, tmp_path / "cutie-base-mega.pth")
    assert xmem.families.family_of(xmem.load_model(name, device="cpu")).name == "cutie"


def test_the_registry_tells_the_released_networks_size():
    buffers = ("running_mean", "running_var", "num_batches_tracked", "inv_freq")
    learned = [value.size for name, value in family_state("cutie").items() if not name.endswith(buffers)]
    assert REGISTRY["Cutie-base-mega"].parameters == sum(learned)


def test_defaults_are_the_released_ones():
    limits = {"count_usage": True, "max_mem_frames": 10, "min_mem_frames": 5, "num_prototypes": 128}
    limits |= {"max_num_tokens": 10_000, "buffer_tokens": 2_000}
    settings = {"mem_every": 5, "stagger_updates": 5, "top_k": 30, "use_long_term": False, "max_mem_frames": 5}
    assert xmem.family_config("cutie", **settings, long_term=limits) == CutieConfig()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"mem_every": 0}, "mem_every must be at least 1"),
        ({"stagger_updates": 0}, "stagger_updates must be at least 1"),
        ({"max_mem_frames": 0}, "max_queue_frames must be at least 1"),
        ({"long_term": {"max_mem_frames": 5}}, "must be larger than"),
        ({"long_term": {"max_num_tokens": 2_000}}, "max_long_term"),
        ({"long_term": {"count_usage": False}}, "count_usage"),
        ({"chunk_size": 1}, "no setting chunk_size"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        xmem.family_config("cutie", **settings)
