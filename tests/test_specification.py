"""The engine against the specification's stepping, written out plainly, in the settings that reference clips leave out:
three objects, late arrival, padding on both axes, unsynchronised deep updates, no sensory and no long-term memory."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain_memory import PlainMemory
from reference_weights import draw

from xmem import MemoryConfig, Propagator
from xmem.network import XMem, lite_sizes, load_state
from xmem.propagator import IMAGE_MEAN, IMAGE_STD

HEIGHT, WIDTH = 37, 53  # padded to 48 x 64: 5 rows above, 6 below; 5 columns left, 6 right
FRAMES = 12


def drawn_model(sensory_channels: int) -> XMem:
    """An xmem-lite whose weights carry signal from memory to mask, so that a wrong memory shows."""
    with torch.device("meta"):
        model = XMem(dataclasses.replace(lite_sizes(), sensory_channels=sensory_channels))
    state = {name: draw(name, tuple(value.shape), salt=3) for name, value in model.state_dict().items()}
    state["key_proj.key_proj.weight"] *= 0.25  # far keys would magnify rounding
    state["decoder.pred.weight"] *= 0.1  # a calm head: what differs is what was remembered
    return load_state(state)


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
def plain_run(model: XMem, config: MemoryConfig, video: np.ndarray, masks: dict[int, np.ndarray]):
    """Probabilities [O + 1, H, W] of every frame, and working and long-term elements held after it.

    Ids arrive in ascending order."""
    memory, objects, sensory = PlainMemory(config), [], None
    last_memory, last_deep = -(10**9), -(10**9)
    for t, frame in enumerate(video):
        mean, std = np.array(IMAGE_MEAN, np.float32), np.array(IMAGE_STD, np.float32)
        image = pad(torch.from_numpy((frame / np.float32(255) - mean) / std).permute(2, 0, 1)[None].float())
        given = sorted(set(np.unique(masks[t])) - {0}) if t in masks else []
        memory_frame = bool(given) or t - last_memory >= config.mem_every
        synchronised = config.deep_update_every < 0
        deep = memory_frame and (synchronised or t - last_deep >= config.deep_update_every)
        key, shrinkage, selection, features = model.encode_key(image)
        prob = None
        if objects and set(objects) - set(given):
            readout = memory.read(key[0].flatten(1), selection[0].flatten(1)).view(1, len(objects), -1, *key.shape[2:])
            logits, updated = model.decode(features, readout, sensory, True)
            if not (synchronised and deep):
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
            if deep:
                sensory, last_deep = deepened, t
        held = (sum(map(len, memory.frames)), len(memory.long_term))
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
    "change",
    [{}, {"long_term": False}, {"deep_update_every": 3}, {"deep_update_every": 0}, {"mem_every": 1}],
    ids=lambda change: str(change) or "default",
)
@pytest.mark.parametrize("sensory_channels", [32, 0])
def test_every_frame_matches_the_plain_form(masks, change, sensory_channels):
    model = drawn_model(sensory_channels)
    config = dataclasses.replace(SMALL, **change)
    video = np.random.default_rng(0).integers(0, 255, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    engine = Propagator(model, config)
    for t, (expected, held) in enumerate(plain_run(model, config, video, masks)):
        prob = engine.step(video[t], masks.get(t))
        assert prob.shape == expected.shape
        assert (prob - expected).abs().max() < 1e-4, f"frame {t}"
        assert (engine.memory.working_size, engine.memory.long_term_size) == held
