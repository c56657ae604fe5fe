"""AOT, by the public way: the released implementation's numbers, a plain form's in other settings, and the comforts."""

import json

import numpy as np
import pytest
import torch
from plain_aot import PlainAOT, merge
from reference_weights import FOLDER, TOLERANCE, family_state

import xmem
from xmem.device import convolves
from xmem.engine.preparing import Preparing
from xmem.engine.state import EngineState
from xmem.errors import InputError
from xmem.families import aot
from xmem.families.aot import AOTConfig
from xmem.memory.store import RowBuffer
from xmem.networks.aot import AOT

FLIP = 1e-5  # gap of the two most probable channels below which rounding may decide
H, W = 30, 46


@pytest.fixture(scope="module")
def model():
    return xmem.load_model(family_state("aot"), "cpu")


def scene(frames: int, objects: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Frames uint8 [H, W, 3] of coloured discs that move over noise, and their index masks."""
    rng = np.random.default_rng(0)
    ground, colours = rng.integers(0, 256, (H, W, 3)), rng.integers(0, 256, (objects, 3))
    y, x = np.mgrid[:H, :W]
    scene = []
    for t in range(frames):
        image, mask = np.roll(ground, t, 1).copy(), np.zeros((H, W), np.uint8)
        for i, colour in enumerate(colours):
            inside = (y - 6 - 9 * (i % 3)) ** 2 + (x - 6 - 9 * (i // 3) - t) ** 2 < 20
            image[inside], mask[inside] = colour, i + 1
        scene.append((image.astype(np.uint8), mask))
    return scene


@pytest.mark.parametrize("name", ["late-object", "long-run", "many-objects"])
def test_every_frame_matches_the_released_implementation(name, monkeypatch):
    """The reference is before a given mask is merged: there, what nobody claims is compared, and the merged label.
    Where rounding flips a label, the reference's goes on."""
    clip = np.load(FOLDER / "families" / "aot" / f"{name}.npz")
    model = xmem.load_model(family_state("aot", int(clip["salt"])), "cpu")
    engine = xmem.Propagator(model, xmem.family_config("aot", **json.loads(str(clip["config"]))))
    own_labels = aot.most_probable

    def fed(prob):
        t = engine.frame_index + 1
        own, expected = own_labels(prob).numpy(), clip[f"label_{t}"]
        assert (own == expected).all() or clip["smallest_margin"][t - 1] < FLIP, f"frame {t}"
        return torch.from_numpy(expected.astype(np.int32))

    monkeypatch.setattr(aot, "most_probable", fed)
    for t, frame in enumerate(clip["frames"]):
        mask = clip.get(f"mask_{t}")
        prob = engine.step(frame, mask).numpy()
        assert prob.dtype == np.float32 and np.abs(prob.sum(0) - 1).max() < 1e-3
        claimed = np.zeros(frame.shape[:2], bool) if mask is None else mask > 0
        assert (prob.argmax(0)[claimed] == (mask[claimed] if claimed.any() else 0)).all()
        if t:
            expected = clip[f"prob_{t}"] / 65535
            known = min(len(expected), len(prob) - 1)  # later ones are not yet there, or not in the file yet
            difference = np.abs(prob[1 : known + 1] - expected[:known])[:, ~claimed]
            assert difference.max() < TOLERANCE and expected[known:].max(initial=0) < TOLERANCE, f"frame {t}"
    assert engine.video_state.long_term_elements == clip["long_term_elements"].tolist()


@pytest.mark.parametrize(
    ("gap", "skip", "arrivals"),
    [
        (5, 2, {0: 1, 4: 2}),  # a late object, and a short-term memory that lies two frames back
        (2, 3, {0: 2, 1: 3, 6: 4}),
        (1, 1, {2: 1}),
        (3, 2, {0: 9, 3: 12}),  # a second memory, of which the last object joins another frame's
        (2, 1, {0: 12, 5: 21}),
    ],
)
def test_other_settings_match_the_plain_form(model, gap, skip, arrivals):
    frames = scene(10, max(arrivals.values()))
    config = xmem.family_config("aot", long_term_mem_gap=gap, short_term_mem_skip=skip)
    engine, plain, known = xmem.Propagator(model, config), PlainAOT(model, gap, skip), 0
    for t, (frame, mask) in enumerate(frames):
        given = None
        if t in arrivals:
            given = np.where((mask > known) & (mask <= arrivals[t]), mask, 0)
            known = arrivals[t]
        prob = engine.step(frame, given)
        if t < min(arrivals):
            assert (prob == 1).all() and prob.shape == (1, H, W)
            continue
        labels = aot.most_probable(prob).numpy()

        def check(own, labels=labels, t=t, prob=prob):
            margin = prob.topk(2, 0).values.diff(dim=0).abs().numpy()[0]
            assert (margin[own != labels] < FLIP).all(), f"frame {t}"
            return labels

        expected = plain.step(frame, given, check)
        free = np.ones((H, W), bool) if given is None else given == 0
        if expected is not None:
            assert (prob[: len(expected)] - expected)[:, free].abs().max() < TOLERANCE, f"frame {t}"
    assert engine.video_state.long_term_elements == plain.long_term_elements


@pytest.mark.parametrize("objects", [[10, 2], [10, 10, 1]])
def test_memories_of_ten_objects_are_merged_by_log_odds_over_all_identities(objects):
    """Also those that no object has; in float64, since they matter little."""
    torch.manual_seed(0)
    probs = [torch.randn(11, 5, 7, dtype=torch.float64).mul(3).softmax(0) for _ in objects]
    probs[-1][objects[-1] + 1 :] = 0
    expected = merge(probs)[: sum(objects) + 1]
    used = [prob[: count + 1] for prob, count in zip(probs, objects, strict=True)]
    assert torch.allclose(aot.merged(used), expected, rtol=1e-9, atol=1e-12)


def test_a_given_mask_overrides_known_objects_and_nobody_else(model):
    """Ids in any order; the corrected object is where the mask has it and nowhere else, others share the rest."""
    frames, ids = scene(3, 3), np.array([0, 7, 200, 3], np.uint8)
    engine, other = xmem.Propagator(model), xmem.Propagator(model)
    for each in (engine, other):
        each.step(frames[0][0], ids[frames[0][1]])
        each.step(frames[1][0])
    assert engine.objects == [3, 7, 200]
    claimed = np.zeros((H, W), np.uint8)
    claimed[2:9, 3:20] = 7
    prob, predicted = engine.step(frames[2][0], claimed), other.step(frames[2][0])
    own = torch.from_numpy(claimed == 7)
    assert torch.equal(prob[2], own.float())
    rest = predicted[[0, 1, 3]] / predicted[[0, 1, 3]].sum(0)
    assert torch.allclose(prob[[0, 1, 3]][:, ~own], rest[:, ~own], atol=1e-6)


def test_an_object_that_is_out_of_sight_is_not_lost_for_good(model):
    """The released code takes the largest label that is left on a frame with a mask for the number of objects."""
    frames = scene(3, 2)
    engine = xmem.Propagator(model)
    engine.step(*frames[0])
    absent = np.where(frames[1][1] == 1, 1, 0)
    prob = engine.step(frames[1][0], absent, objects=[1, 2])
    assert (prob[2] == 0).all()
    assert engine.step(frames[2][0])[2].max() > 0


def test_key_frames_are_kept_outside_the_limit_of_frames(model):
    frames = scene(8, 2)
    engine = xmem.Propagator(model, AOTConfig(mem_every=1, max_memory_frames=2))
    only_first = np.where(frames[7][1] == 1, 1, 0)
    engine.remember(frames[7][0], only_first)
    engine.remember(frames[6][0], frames[6][1])
    elements = engine.memory_use().permanent // 2
    for image, _ in frames[:5]:
        prob = engine.step(image)
        assert prob.shape == (3, H, W) and torch.isfinite(prob).all()
    use = engine.memory_use()
    assert (use.permanent, use.long_term) == (2 * elements, 2 * elements)


@pytest.mark.parametrize("objects", [1, 12])
def test_a_stand_in_for_the_estimate_of_a_run_holds_as_many_elements_as_told(model, objects):
    """In all memories of ten objects together, as elements are counted everywhere."""
    (image, mask), (second, _) = scene(2, objects)
    engine = xmem.Propagator(model)
    engine.remember(image, mask)
    before = engine.memory_use().permanent
    engine.video_state.fill(3 * before)
    assert engine.memory_use().permanent == 4 * before
    engine.step(second)


def test_a_limit_of_frames_keeps_memory_flat(model):
    frames = scene(9, 1)
    engine, bytes_held = xmem.Propagator(model, AOTConfig(mem_every=1, max_memory_frames=3)), []
    for t, (image, mask) in enumerate(frames):
        engine.step(image, mask if t == 0 else None)
        bytes_held.append(engine.memory_use().bytes)
    assert bytes_held[1] < bytes_held[2] == bytes_held[-1]


def test_frames_that_may_not_be_remembered_and_the_last_one_leave_long_term_memory_as_it_is(model):
    frames = scene(6, 1)
    engine = xmem.Propagator(model, AOTConfig(mem_every=2))
    sizes = []
    for t, (image, mask) in enumerate(frames):
        engine.step(image, mask if t == 0 else None, remember=t != 2, last=t == 5)
        sizes.append(engine.memory_use().long_term)
    one = sizes[0]
    assert sizes == [one, one, one, 2 * one, 2 * one, 2 * one]


def test_a_run_that_was_suspended_goes_on_to_the_bit(model, tmp_path):
    frames = scene(9, 12)
    engine = xmem.Propagator(model, AOTConfig(mem_every=2, short_term_delay=2, max_memory_frames=3))
    resumed = None
    for t, (image, mask) in enumerate(frames):
        prob = engine.step(image, mask if t == 0 else None)
        if resumed:
            assert torch.equal(resumed.step(image), prob)
        if t == 4:
            engine.state().write(tmp_path / "state.safetensors")
            resumed = xmem.Propagator.resume(model, EngineState.read(tmp_path / "state.safetensors"))
    assert resumed.memory_use() == engine.memory_use()


@pytest.mark.skipif(not convolves(torch.bfloat16), reason="this CPU does not compute in bfloat16")
def test_half_precision_stays_finite():
    model = xmem.load_model(family_state("aot"), "cpu", "bfloat16")
    engine = xmem.Propagator(model, AOTConfig(mem_every=1))
    for t, (image, mask) in enumerate(scene(3, 2)):
        prob = engine.step(image, mask if t == 0 else None)
        assert prob.dtype == torch.float32 and torch.isfinite(prob).all()


def test_where_memory_is_full_a_step_is_done_in_smaller_pieces_or_again_with_the_same_numbers(model, monkeypatch):
    frames = scene(6, 12)
    expected = [prob for _, prob in xmem.Propagator(model, AOTConfig(2)).run([f for f, _ in frames], {0: frames[0][1]})]
    attend, append = torch.nn.functional.scaled_dot_product_attention, RowBuffer.make_room
    fails = [False, False, True, False, True]

    def attend_few(query, key, value):
        if query.shape[2] * key.shape[2] > 200:
            raise RuntimeError("out of memory")
        return attend(query, key, value)

    def make_room(buffer, more):
        if fails and fails.pop(0):
            raise RuntimeError("out of memory")
        append(buffer, more)

    engine = xmem.Propagator(model, AOTConfig(2))
    engine.step(*frames[0])
    monkeypatch.setattr(aot, "SMALLEST_CHUNK_ELEMENTS", 10)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attend_few)
    monkeypatch.setattr(RowBuffer, "make_room", make_room)
    for (image, _), wanted in zip(frames[1:], expected[1:], strict=True):
        assert torch.allclose(engine.step(image), wanted, atol=1e-5)
    assert not fails and engine.video_state.long_term_elements == [3 * 12, 3 * 12]


@pytest.mark.parametrize(
    ("shape", "size", "placed"),
    [
        ((480, 854), None, (481, 849)),
        ((1080, 1920), None, (577, 1041)),  # the longer side is at most 1040
        ((1080, 1920), 720, (721, 1281)),  # unless a size is asked for
        ((25, 25), None, (33, 33)),  # halves go to the even multiple
        ((41, 41), None, (33, 33)),
    ],
)
def test_frames_are_placed_as_the_released_evaluation_does(model, shape, size, placed):
    preparing = Preparing(model, aot.AOT_FAMILY.grid, size, shape)
    assert preparing.image(np.zeros((*shape, 3), np.uint8)).shape[-2:] == placed


def test_answers_have_the_inference_size_or_that_of_the_frame(model):
    (first, mask), (second, _) = scene(2, 2)
    engine = xmem.Propagator(model, size=20)
    engine.step(first, mask)
    assert engine.step(second).shape == (3, H, W)
    assert engine.step(second, full_size=False).shape == (3, 20, 30)
    wide = np.zeros((60, 1100, 3), np.uint8)  # which the network sees 1040 wide
    engine = xmem.Propagator(model)
    assert engine.step(wide, np.eye(60, 1100, dtype=np.uint8), full_size=False).shape == (2, 60, 1100)


def test_weights_with_the_prefix_of_training_on_several_gpus_are_recognised():
    state = {f"module.{name}": value for name, value in family_state("aot").items()}
    assert isinstance(xmem.load_model(state, "cpu"), AOT)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"max_obj_num": 5}, "trained with max_obj_num 10"),
        ({"align_corners": False}, "trained with max_obj_num 10"),
        ({"mem_every": 3}, "AOT has no setting mem_every = 3: choose among long_term_mem_gap"),
        ({"long_term_mem_gap": 0}, "mem_every must be at least 1"),
        ({"short_term_mem_skip": 0}, "short_term_delay must be at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        xmem.family_config("aot", **settings)


def test_a_limit_below_two_frames_is_refused():
    with pytest.raises(InputError, match="max_memory_frames must be at least 2"):
        AOTConfig(max_memory_frames=1)
