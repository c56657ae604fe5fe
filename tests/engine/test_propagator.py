"""What a step promises: shapes, ids, given masks, late objects, key frames, any size, any precision."""

import copy
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from reference_weights import released_state
from torch.utils._python_dispatch import TorchDispatchMode

from xmem.checkpoints import load_model
from xmem.config import MemoryConfig
from xmem.device import convolves
from xmem.engine.preparing import IMAGE_MEAN, IMAGE_STD, Preparing, resize_to_frame
from xmem.engine.propagator import Propagator
from xmem.errors import InputError
from xmem.families import Grid
from xmem.memory.attention import row_type
from xmem.networks.xmem import load_state
from xmem.render.masks import read_mask
from xmem.video import FrameReader

CONFIG = MemoryConfig(mem_every=2, min_working_frames=2, max_working_frames=3, prototypes=5, max_long_term=12)


def frames(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, height, width, 3), np.uint8)


def mask(height: int, width: int, **ids: tuple[slice, slice]) -> np.ndarray:
    """An index mask; ids as id_7=(rows, columns)."""
    index = np.zeros((height, width), np.uint8)
    for name, region in ids.items():
        index[region] = int(name.split("_")[1])
    return index


LEFT, RIGHT = (slice(5, 20), slice(3, 20)), (slice(8, 30), slice(30, 50))


@pytest.mark.parametrize("size", [None, 32, 64])
def test_probabilities_have_the_frames_size_and_sum_to_one(tiny_model, size):
    """Odd sizes are padded on both axes and cropped back; an inference size is undone."""
    engine = Propagator(tiny_model, size=size)
    for t, frame in enumerate(frames(3, 37, 53)):
        prob = engine.step(frame, mask(37, 53, id_1=LEFT, id_2=RIGHT) if t == 0 else None)
        assert prob.shape == (3, 37, 53) and prob.dtype == torch.float32
        assert torch.allclose(prob.sum(0), torch.ones(37, 53), atol=1e-5)


def test_the_image_is_normalised_as_the_specification_says(tiny_model):
    """In one pass over whole rows; padded with zeros after it."""
    frame = frames(1, 37, 53)[0]
    image = Preparing(tiny_model, Grid(), None, (37, 53)).image(frame)
    assert image.shape == (1, 3, 48, 64) and image.is_contiguous(memory_format=torch.channels_last)
    expected = (frame / 255 - np.array(IMAGE_MEAN)) / np.array(IMAGE_STD)
    inside = image[0, :, 5:42, 5:58].permute(1, 2, 0).numpy()
    assert np.abs(inside - expected).max() < 1e-6
    image[0, :, 5:42, 5:58] = 0
    assert not image.any()


def test_the_first_frame_returns_the_given_mask(tiny_model):
    given = mask(37, 53, id_1=LEFT, id_2=RIGHT)
    prob = Propagator(tiny_model).step(frames(1, 37, 53)[0], given)
    assert (prob.argmax(0).numpy() == given).all()


def test_a_mask_speaks_for_the_ids_it_contains_and_new_ids_join(tiny_model):
    """Ids need not be consecutive; channels follow id order whatever the order of arrival."""
    engine, video = Propagator(tiny_model, MemoryConfig(mem_every=2)), frames(5, 32, 64)
    engine.step(video[0], mask(32, 64, id_7=LEFT))
    assert engine.objects == [7]
    engine.step(video[1])
    late = mask(32, 64, id_3=RIGHT)
    prob = engine.step(video[2], late)
    assert engine.objects == [3, 7] and prob.shape[0] == 3
    assert (prob[1][late == 3] > 0.99).all(), "the given object is channel 1 now"
    assert (prob[2][late == 3] < 0.01).all(), "the predicted one gives way where a mask claims the pixel"
    assert engine.step(video[3]).shape[0] == 3


@pytest.mark.parametrize(
    ("size", "config", "remembered"),
    [
        (320, None, [0, 3, 6]),
        (320, MemoryConfig(top_k=9), [0, 3, 6]),
        (288, None, [0, 5]),
        (320, MemoryConfig(mem_every=4), [0, 4]),
    ],
)
def test_a_small_network_remembers_more_often_where_it_runs_at_a_large_size(tiny_model, size, config, remembered):
    """Unless somebody chooses how often; the outlook, by which the estimate goes, counts the same frames."""
    engine, video = Propagator(tiny_model, config, size=size), frames(7, 32, 64)
    held = [0]
    for number, image in enumerate(video):
        engine.step(image, mask(32, 64, id_1=LEFT) if number == 0 else None)
        held.append(engine.memory.working_size)
    assert [t for t in range(7) if held[t + 1] > held[t]] == remembered
    assert engine.video_state.outlook(7, held[1]).most == held[-1]


def test_a_given_mask_corrects_an_object_later(tiny_model):
    engine, video = Propagator(tiny_model), frames(3, 32, 64)
    engine.step(video[0], mask(32, 64, id_1=LEFT))
    engine.step(video[1])
    corrected = mask(32, 64, id_1=RIGHT)
    assert (engine.step(video[2], corrected).argmax(0).numpy() == corrected).all()


def test_frames_before_the_first_mask_are_background(tiny_model):
    engine, video = Propagator(tiny_model), frames(3, 32, 64)
    assert (engine.step(video[0]) == 1).all()
    assert (engine.step(video[1], np.zeros((32, 64), np.uint8)) == 1).all(), "an empty mask names nobody"
    assert engine.step(video[2], mask(32, 64, id_1=LEFT)).shape[0] == 2


def test_the_last_frame_may_skip_its_memory_work(tiny_model):
    """Its probabilities are the same; nothing is remembered."""
    video, given = frames(3, 32, 64), mask(32, 64, id_1=LEFT)
    results = []
    for last in (False, True):
        engine = Propagator(tiny_model, MemoryConfig(mem_every=2))
        engine.step(video[0], given)
        engine.step(video[1])
        results.append(engine.step(video[2], last=last))
        assert engine.memory.working_size == (8 if last else 16)
    assert torch.equal(*results)


@pytest.mark.parametrize("every", [-1, 0, 1, 3])
def test_deep_updates_run_synchronised_or_on_their_own_beat(tiny_model, every, monkeypatch):
    """Deep updates happen on memory frames only: synchronised on every one, else when `every` frames have passed."""
    deep, original = [], tiny_model.encode_value

    def encode_value(*args):
        deep.append(args[4])
        return original(*args)

    monkeypatch.setattr(tiny_model, "encode_value", encode_value)
    engine = Propagator(tiny_model, MemoryConfig(mem_every=2, deep_update_every=every))
    for t, frame in enumerate(frames(9, 32, 32)):
        engine.step(frame, mask(32, 32, id_1=LEFT) if t == 0 else None)
    assert deep == {-1: [True] * 5, 0: [True] * 5, 1: [True] * 5, 3: [True, False, True, False, True]}[every]


@pytest.fixture(scope="module")
def released():
    return load_state(released_state())


def last_of_four(model) -> torch.Tensor:
    engine, video = Propagator(model, MemoryConfig(mem_every=1)), frames(4, 32, 48)
    for t, frame in enumerate(video):
        prob = engine.step(frame, mask(32, 48, id_1=LEFT, id_2=RIGHT) if t == 0 else None)
    return prob


@pytest.fixture(scope="module")
def in_float32(released) -> torch.Tensor:
    return last_of_four(released)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_finite_and_near_float32(released, in_float32, dtype):
    """Aggregation runs in float32, in which 1 - 1e-7 has a place, and squared keys do not overflow."""
    found = last_of_four(copy.deepcopy(released).to(dtype))
    assert torch.isfinite(found).all()
    assert (in_float32 - found).abs().mean() < 0.02


@pytest.fixture(scope="module")
def sample():
    """Frames 0 and 8 of the bundled clip, and the bunny's mask on the first."""
    samples = Path(__file__).parents[2] / "demo" / "samples"
    with FrameReader(samples / "big-buck-bunny.mp4") as reader:
        info, images = reader.info, [frame.image for frame in reader if frame.index in (0, 8)]
    return images, read_mask(samples / "big-buck-bunny.png", info.width, info.height).index


needs_bfloat16 = pytest.mark.skipif(not convolves(torch.bfloat16), reason="this CPU does not compute in bfloat16")


@needs_bfloat16
def test_bfloat16_gives_nearly_the_same_masks_on_a_real_clip():
    """The embedded network over 17 frames, three memory frames among them: mean IoU with float32's masks was 0.992, the
    least 0.980. Probabilities are float32."""
    samples, found = Path(__file__).parents[2] / "demo" / "samples", []
    with FrameReader(samples / "big-buck-bunny.mp4") as reader:
        index = read_mask(samples / "big-buck-bunny.png", reader.info.width, reader.info.height).index
        clip = [frame.image for frame in islice(reader, 17)]
    for precision in ("float32", "bfloat16"):
        engine = Propagator(load_model("xmem-lite", "cpu", precision=precision), size=192)
        masks = []
        for t, frame in enumerate(clip):
            prob = engine.step(frame, index if t == 0 else None)
            assert prob.dtype == torch.float32 and torch.isfinite(prob).all()
            assert torch.allclose(prob.sum(0), torch.ones(()), atol=1e-5)
            masks.append(prob.argmax(0) > 0)
        found.append(masks)
    ious = [((a & b).sum() / (a | b).sum()).item() for a, b in zip(*found, strict=True)]
    assert np.mean(ious) > 0.985 and min(ious) > 0.96


@pytest.mark.parametrize("dtype", [pytest.param(torch.bfloat16, marks=needs_bfloat16), torch.float32])
def test_what_memory_holds_has_the_right_precision(dtype):
    """Keys and use are float32, or 1 + 1e-7 would be lost; values and the sensory memory are the network's, and so are
    prepared rows, where the processor multiplies it. An object arrives late, and memory is consolidated."""
    model = load_model("xmem-lite", "cpu", precision={torch.bfloat16: "bfloat16", torch.float32: "float32"}[dtype])
    config = MemoryConfig(mem_every=1, min_working_frames=2, max_working_frames=4, prototypes=8)
    engine, video = Propagator(model, config), frames(8, 64, 96)
    engine.remember(video[0], mask(64, 96, id_4=LEFT))
    for t, frame in enumerate(video):
        given = {0: mask(64, 96, id_4=LEFT, id_6=RIGHT), 3: mask(64, 96, id_2=(slice(40, 60), slice(50, 90)))}.get(t)
        prob = engine.step(frame, given)
        assert prob.dtype == torch.float32 and torch.isfinite(prob).all()
    assert prob.shape[0] == 4 and engine.memory.long_term_size > 0
    store = engine.memory._store
    for name in ("key", "prepared", "shrinkage", "usage", "selection"):
        expected = row_type(torch.zeros(1, dtype=dtype)) if name == "prepared" else torch.float32
        assert store.column(name).dtype == expected and torch.isfinite(store.column(name)).all(), name
    for rows in [engine.memory.sensory, *(group.values.rows for group in store.groups)]:
        assert rows.dtype == dtype and torch.isfinite(rows).all()


def test_an_object_of_a_later_key_frame_is_found_on_an_earlier_frame(sample):
    """Backward use: the key frame at 8 introduces object 2, which is predicted on frame 0, whose mask is of 1 only."""
    (first, later), index = sample
    model = load_model("xmem-lite", "cpu")
    forward = Propagator(model, size=256)
    forward.step(first, index)
    found = forward.step(later).argmax(0).numpy().astype(np.uint8)
    bunny = int(np.bincount(index[index > 0]).argmax())
    backward = Propagator(model, size=256)
    backward.remember(later, np.where(found == forward.objects.index(bunny) + 1, 2, 0).astype(np.uint8))
    corner = np.zeros_like(index)
    corner[:20, :20] = 1
    predicted = backward.step(first, corner).argmax(0).numpy()
    assert backward.objects == [1, 2]
    assert (predicted[:18, :18] == 1).all()
    truth, mine = index == bunny, predicted == 2
    assert (truth & mine).sum() / (truth | mine).sum() > 0.4, "sensory memory is empty there: about 0.55, chance 0.1"


def test_a_key_frame_may_leave_known_objects_to_be_predicted(tiny_model):
    """They are read from the key frames before it, so that every later element has values of every known object."""
    engine, video = Propagator(tiny_model), frames(3, 32, 64)
    engine.remember(video[0], mask(32, 64, id_5=LEFT))
    engine.remember(video[1], mask(32, 64, id_2=RIGHT))
    assert engine.objects == [2, 5]
    assert engine.memory_use().permanent == 2 * 8
    assert engine.step(video[2]).shape == (3, 32, 64)


def test_a_named_object_without_pixels_is_absent(tiny_model):
    engine, video = Propagator(tiny_model), frames(3, 32, 64)
    engine.step(video[0], mask(32, 64, id_1=LEFT, id_2=RIGHT))
    engine.step(video[1])
    prob = engine.step(video[2], mask(32, 64, id_1=LEFT), objects=[1, 2])
    assert (prob[2] < 1e-3).all(), "absent, not predicted"
    fresh = Propagator(tiny_model)
    prob = fresh.step(video[0], np.zeros((32, 64), np.uint8), objects=[3])
    assert fresh.objects == [3] and (prob[0] > 0.99).all()


def test_pixels_of_objects_that_a_mask_does_not_speak_for_are_passed_over(tiny_model):
    engine, given = Propagator(tiny_model), mask(32, 64, id_1=LEFT, id_2=RIGHT)
    prob = engine.step(frames(1, 32, 64)[0], given, objects=[1])
    assert engine.objects == [1]
    assert (prob.argmax(0).numpy() == (given == 1)).all()


def test_a_frame_kept_out_of_memory_is_made_up_for_by_the_next(tiny_model):
    """remember=False on a frame that is due; a frame with a mask is remembered all the same."""
    engine, video, sizes = Propagator(tiny_model, MemoryConfig(mem_every=2)), frames(7, 32, 64), []
    for t, allowed in enumerate([False, True, False, False, True, True, False]):
        engine.step(video[t], {0: mask(32, 64, id_1=LEFT), 6: mask(32, 64, id_1=RIGHT)}.get(t), remember=allowed)
        sizes.append(engine.memory_use().working // 8)
    assert sizes == [1, 1, 1, 1, 2, 2, 3]


def test_a_frame_kept_out_of_memory_still_updates_the_sensory_memory(tiny_model):
    engine, video = Propagator(tiny_model, MemoryConfig(mem_every=1)), frames(2, 32, 64)
    engine.step(video[0], mask(32, 64, id_1=LEFT))
    before = engine.memory.sensory
    engine.step(video[1], remember=False)
    assert not torch.equal(engine.memory.sensory, before)


@pytest.mark.parametrize("every", [-1, 1, 3])
def test_without_sensory_memory_it_stays_zero(tiny_model, every):
    engine = Propagator(tiny_model, MemoryConfig(mem_every=2, deep_update_every=every, sensory=False))
    for t, frame in enumerate(frames(6, 32, 64)):
        engine.step(frame, mask(32, 64, id_1=LEFT) if t == 0 else None)
        assert not engine.memory.sensory.any()


def test_probabilities_at_inference_size_are_what_a_step_resizes(tiny_model):
    video, results = frames(3, 37, 53), []
    for full_size in (True, False):
        engine = Propagator(tiny_model, size=64)
        given = (None, mask(37, 53, id_1=LEFT), None, None)
        shown = zip([video[0], *video], given, strict=True)
        results.append([engine.step(frame, told, full_size=full_size) for frame, told in shown])
    for whole, small in zip(*results, strict=True):
        assert small.shape[-2:] == (64, 91)
        torch.testing.assert_close(resize_to_frame(small, (37, 53)), whole)


@pytest.mark.parametrize("as_function", [False, True])
def test_a_run_is_its_steps(tiny_model, as_function):
    """Masks by number, or told by a function once an image's turn has come."""
    video, given, asked = list(frames(5, 37, 53)), {0: mask(37, 53, id_1=LEFT), 3: mask(37, 53, id_4=RIGHT)}, []
    engine = Propagator(tiny_model, CONFIG)
    expected = [engine.step(frame, given.get(t)) for t, frame in enumerate(video)]

    def told(item):
        asked.append(item.index)
        return {"mask": given.get(item.index)}

    items = [SimpleNamespace(index=t, image=frame) for t, frame in enumerate(video)]
    run = Propagator(tiny_model, CONFIG).run(*((items, told) if as_function else (video, given)))
    for t, (item, prob) in enumerate(run):
        assert item is (items if as_function else video)[t]
        torch.testing.assert_close(prob, expected[t], atol=1e-3, rtol=0)  # threads of a CPU add in another order
        assert not as_function or asked == list(range(t + 1)), "not asked ahead of its turn"
    assert t == 4


def test_two_interleaved_engines_leave_each_other_and_the_network_as_they_are(tiny_model):
    """One of them short of memory: what it can afford is its own affair."""
    video, given = frames(6, 37, 53), mask(37, 53, id_1=LEFT, id_2=RIGHT)
    weights = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    attributes = dict(vars(tiny_model))
    single = Propagator(tiny_model, CONFIG)
    alone = [single.step(frame, given if t == 0 else None) for t, frame in enumerate(video)]
    first, second = Propagator(tiny_model, CONFIG), Propagator(tiny_model, CONFIG)
    second._take_smaller_pieces(2)
    for t, frame in enumerate(video):
        one = first.step(frame, given if t == 0 else None)
        other = second.step(video[-1 - t], given if t == 0 else None)
        assert torch.equal(one, alone[t]) and other.shape == one.shape
    assert vars(tiny_model) == attributes
    assert all(torch.equal(value, weights[name]) for name, value in tiny_model.state_dict().items())


def test_settings_of_another_family_are_refused(tiny_model):
    with pytest.raises(InputError, match=r"holds no settings of XMem: give a MemoryConfig"):
        Propagator(tiny_model, SimpleNamespace(mem_every=5))


def test_key_frames_and_objects_that_cannot_be_used_are_refused(tiny_model):
    engine, frame, empty = Propagator(tiny_model), frames(1, 32, 64)[0], np.zeros((32, 64), np.uint8)
    with pytest.raises(InputError, match="at least one object"):
        engine.remember(frame, empty)
    with pytest.raises(InputError, match="from 1 to 255, not 256"):
        engine.remember(frame, empty, objects=[1, 256])
    with pytest.raises(InputError, match="named without a mask"):
        engine.step(frame, objects=[1])
    engine.step(frame)
    with pytest.raises(InputError, match="before the first step"):
        engine.remember(frame, mask(32, 64, id_1=LEFT))


def test_a_frame_or_mask_of_another_size_is_refused_in_one_sentence(tiny_model):
    engine = Propagator(tiny_model)
    with pytest.raises(InputError, match="index mask of the frame's size"):
        engine.step(frames(1, 32, 48)[0], mask(16, 16, id_1=(slice(2, 5), slice(2, 5))))
    engine.step(frames(1, 32, 48)[0], mask(32, 48, id_1=LEFT))
    with pytest.raises(InputError, match="frame size changed from 48x32 to 32x32"):
        engine.step(frames(1, 32, 32)[0])
    with pytest.raises(InputError, match="uint8"):
        engine.step(frames(1, 32, 48)[0].astype(np.float32))


class Asked(TorchDispatchMode):
    """Notes operations for which a host waits for its device, or that bring a constant to it."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "lift_fresh", "unique")

    def __init__(self):
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        boolean = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if boolean or any(name.strip("_").startswith(word.strip("_")) for word in self.WAITING):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def test_no_step_without_a_mask_waits_for_the_device(tiny_model):
    """Nor brings constants to it: with memory frames, consolidations, and long-term memory at its limit."""
    config = MemoryConfig(mem_every=2, min_working_frames=2, max_working_frames=3, prototypes=5, max_long_term=12)
    engine, video = Propagator(tiny_model, config, size=48), frames(18, 37, 53)
    engine.step(video[0], mask(37, 53, id_5=LEFT, id_7=RIGHT))
    with Asked() as asked:
        for frame in video[1:]:
            engine.step(frame)
    assert engine.memory.long_term_size == 12
    assert asked.seen == 17 * ["lift_fresh"], "the frame itself, once a step"
    with Asked() as asked:
        engine.step(video[0]).max().item()
    assert asked.seen[1:] == ["_local_scalar_dense"], "the test would see it"


@pytest.mark.parametrize(("height", "width"), [(60, 100), (31, 57)])
def test_enlarging_a_frame_is_the_antialiased_resize(height, width):
    """The plain resize that is used for it gives the numbers of the one that the method names."""
    image = torch.rand(1, 3, height, width) * 4 - 2
    for size in [(64, int(64 * width / height)), (height + 1, width + 2), (height, width + 9)]:
        plain, antialiased = (
            torch.nn.functional.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=is_smooth)
            for is_smooth in (False, True)
        )
        assert torch.allclose(plain, antialiased, atol=1e-5)
