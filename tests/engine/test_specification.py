"""The engine against the specification's stepping, written out plainly, in the settings that reference clips leave out:
three objects, late arrival, padding on both axes, unsynchronised deep updates, no sensory and no long-term memory."""

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain_memory import PlainMemory
from reference_weights import draw

from xmem import MemoryConfig, Propagator
from xmem.engine.preparing import IMAGE_MEAN, IMAGE_STD
from xmem.networks.cpu import fold_batch_norm
from xmem.networks.xmem import XMem, lite_sizes, load_state

HEIGHT, WIDTH = 37, 53  # padded to 48 x 64: 5 rows above, 6 below; 5 columns left, 6 right
FRAMES = 12


@cache
def drawn_model(sensory_channels: int) -> XMem:
    """An xmem-lite whose weights carry signal from memory to mask, so that a wrong memory shows."""
    with torch.device("meta"):
        model = XMem(dataclasses.replace(lite_sizes(), sensory_channels=sensory_channels))
    state = {name: draw(name, tuple(value.shape), salt=3) for name, value in model.state_dict().items()}
    state["key_proj.key_proj.weight"] *= 0.25  # far keys would magnify rounding
    state["decoder.pred.weight"] *= 0.1  # a calm head: what differs is what was remembered
    return fold_batch_norm(load_state(state))


def plain_aggregate(prob: torch.Tensor) -> torch.Tensor:
    """[O, H, W] -> [O + 1, H, W] probabilities."""
    background = torch.ones_like(prob[0])
    for p in prob:
        background = background * (1 - p)
    prob = torch.stack([background, *prob]).clamp(1e-7, 1 - 1e-7)
    odds = prob / (1 - prob)
    return odds / odds.sum(0)


def pad(x: torch.Tensor) -> torch.Tensor:
    return F.pad(x, (5, 6, 5, 6))


@torch.inference_mode()
def plain_run(
    model: XMem,
    config: MemoryConfig,
    video: np.ndarray,
    masks: dict[int, np.ndarray],
    key_frames: dict[int, np.ndarray] | None = None,
    speaks: dict[int, list[int]] | None = None,
    paused: tuple[int, ...] = (),
):
    """Probabilities [O + 1, H, W] of every frame, and permanent, working and long-term elements held after it.

    key_frames: masks of frames remembered for good before the first step; speaks: ids that a frame's mask speaks for;
    paused: frames that may not be remembered. Ids arrive in ascending order."""
    memory, objects, sensory = PlainMemory(config), [], None
    last_memory, last_deep = -(10**9), -(10**9)
    mean, std = np.array(IMAGE_MEAN, np.float32), np.array(IMAGE_STD, np.float32)
    images = [pad(torch.from_numpy((f / np.float32(255) - mean) / std).permute(2, 0, 1)[None].float()) for f in video]

    def spoken(t: int, mask: np.ndarray) -> list[int]:
        return (speaks or {}).get(t, sorted(set(np.unique(mask)) - {0}))

    for t, mask in (key_frames or {}).items():
        given = spoken(t, mask)
        objects += [i for i in given if i not in objects]
        assert given == objects, "the plain form leaves predicting on a key frame out"
        key, shrinkage, selection, features = model.encode_key(images[t])
        prob = plain_aggregate(torch.stack([pad(torch.from_numpy(mask == i).float()) for i in objects]))
        sensory = model.initial_sensory(1, len(objects), *key.shape[2:])
        values, _ = model.encode_value(images[t], features[0], prob[None, 1:], sensory, False)
        parts = (key[0].flatten(1), shrinkage[0].flatten(1), selection[0].flatten(1), values[0].flatten(2))
        memory.append(*parts, permanent=True)
    for t, image in enumerate(images):
        given = spoken(t, masks[t]) if t in masks else []
        memory_frame = bool(given) or (t - last_memory >= config.mem_every and t not in paused)
        synchronised = config.deep_update_every < 0
        deep = memory_frame and (synchronised or t - last_deep >= config.deep_update_every)
        key, shrinkage, selection, features = model.encode_key(image)
        prob = None
        if objects and set(objects) - set(given):
            readout = memory.read(key[0].flatten(1), selection[0].flatten(1)).view(1, len(objects), -1, *key.shape[2:])
            logits, updated = model.decode(features, readout, sensory, True)
            if config.sensory and not (synchronised and deep):
                sensory = updated
            prob = plain_aggregate(torch.sigmoid(logits[0]))
        if given:
            new = [i for i in given if i not in objects]
            old, objects = objects, objects + new
            soft = {i: pad(torch.from_numpy(masks[t] == i).float()) for i in given}
            claimed = sum(soft.values()) > 0.5
            merged = [soft[i] if i in given else prob[old.index(i) + 1].masked_fill(claimed, 0) for i in objects]
            prob = plain_aggregate(torch.stack(merged))
            zeros = model.initial_sensory(1, len(new), *key.shape[2:])
            sensory = zeros if sensory is None else torch.cat([sensory, zeros], 1)
        if memory_frame:
            values, deepened = model.encode_value(image, features[0], prob[None, 1:], sensory, deep)
            memory.append(key[0].flatten(1), shrinkage[0].flatten(1), selection[0].flatten(1), values[0].flatten(2))
            last_memory = t
            if deep and config.sensory:
                sensory, last_deep = deepened, t
        held = (len(memory.permanent), sum(map(len, memory.frames)), len(memory.long_term))
        yield prob[:, 5 : 5 + HEIGHT, 5 : 5 + WIDTH], held


def index(**regions: tuple[int, int, int, int]) -> np.ndarray:
    """An index mask from id_3=(top, bottom, left, right)."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for name, (top, bottom, left, right) in regions.items():
        mask[top:bottom, left:right] = int(name[3:])
    return mask


A, B, C = (3, 20, 4, 22), (15, 34, 25, 40), (2, 30, 41, 52)
TOGETHER = {0: index(id_1=A, id_2=B, id_3=C)}
LATE = {0: index(id_1=A), 3: index(id_2=B), 4: index(id_4=C), 8: index(id_1=(8, 25, 6, 24))}
SMALL = MemoryConfig(mem_every=2, top_k=9, min_working_frames=2, max_working_frames=3, prototypes=5, max_long_term=12)


@pytest.mark.parametrize("masks", [TOGETHER, LATE], ids=["three-objects", "late-arrival-and-correction"])
@pytest.mark.parametrize(
    ("change", "sensory_channels"),
    [
        ({}, 32),
        ({"long_term": False}, 32),
        ({"deep_update_every": 3}, 32),
        ({"deep_update_every": 0}, 32),
        ({"mem_every": 1}, 32),
        ({"sensory": False}, 32),
        ({}, 0),
        ({"long_term": False}, 0),
    ],
    ids=str,
)
def test_every_frame_matches_the_plain_form(masks, change, sensory_channels):
    """sensory_channels: 0 is a checkpoint without that memory."""
    model = drawn_model(sensory_channels)
    config = dataclasses.replace(SMALL, **change)
    video = np.random.default_rng(0).integers(0, 255, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    engine = Propagator(model, config)
    for t, (expected, held) in enumerate(plain_run(model, config, video, masks)):
        prob = engine.step(video[t], masks.get(t))
        assert prob.shape == expected.shape
        assert (prob - expected).abs().max() < 1e-4, f"frame {t}"
        assert (engine.memory.permanent_size, engine.memory.working_size, engine.memory.long_term_size) == held


KEYS = {9: index(id_1=A), 11: index(id_1=(8, 25, 6, 24), id_2=B)}


@pytest.mark.parametrize(
    ("masks", "speaks"),
    [
        ({0: index(id_1=A)}, {}),  # object 2 is known from a later key frame only
        ({0: index(id_4=C)}, {}),  # a new object beside two that are predicted
        ({0: index(id_1=A), 4: index(id_2=B)}, {0: [1, 2], 11: [1, 2, 3]}),  # absent on the first frame; never seen
        ({}, {}),  # nothing given but key frames
    ],
    ids=["backward", "new-object", "absent", "key-frames-only"],
)
@pytest.mark.parametrize("change", [{}, {"long_term": False}, {"sensory": False, "deep_update_every": 2}], ids=str)
def test_every_frame_matches_the_plain_form_with_key_frames(masks, speaks, change):
    model = drawn_model(32)
    config = dataclasses.replace(SMALL, **change)
    video = np.random.default_rng(0).integers(0, 255, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    # not a key frame a second time: both would be equally near, and rounding would choose the one that is read
    engine, paused = Propagator(model, config), (4, 5, 8, *KEYS)
    for t, mask in KEYS.items():
        engine.remember(video[t], mask, speaks.get(t))
    for t, (expected, held) in enumerate(plain_run(model, config, video, masks, KEYS, speaks, paused)):
        prob = engine.step(
            video[t], masks.get(t), objects=speaks.get(t) if t in masks else None, remember=t not in paused
        )
        assert prob.shape == expected.shape
        assert (prob - expected).abs().max() < 1e-4, f"frame {t}"
        assert (engine.memory.permanent_size, engine.memory.working_size, engine.memory.long_term_size) == held
