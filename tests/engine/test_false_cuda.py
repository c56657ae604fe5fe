"""The engine on a false CUDA device, whose tensors have shapes and no values: what a CPU can prove about a GPU.

No two devices are mixed (torch refuses it), no step waits for the device, and the operators that a frame launches are
counted and held. Numbers, speed and memory are what only a real one shows (`tests/test_gpu.py`).

There is no second stand-in: torch's own for accelerators, `torch_openreg`, comes with its sources alone, neither in its
wheel nor as a package; and a renamed PrivateUse1 backend, as `torch.utils.backend_registration` sets one up, has no
operator, not even `empty` (tried with torch 2.14): each would be one of ours, and prove nothing.
"""

from collections import Counter
from contextlib import contextmanager
from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from xmem import MemoryConfig, Propagator, family_config
from xmem.engine.masks import index_of
from xmem.engine.preparing import resize_to_frame
from xmem.engine.transfers import brought_near, fetch
from xmem.families import FAMILIES
from xmem.networks.aot import AOT
from xmem.networks.cpu import fold_batch_norm
from xmem.networks.cutie import Cutie, CutieSizes
from xmem.networks.split import use_split
from xmem.networks.stcn import STCN
from xmem.networks.stm import STM
from xmem.networks.xmem import XMem, lite_sizes, xmem_sizes
from xmem.pieces import Pieces
from xmem.session.passes import _blend
from xmem.session.probabilities import sixteen_bits
from xmem.video import Frame

HEIGHT, WIDTH = 96, 160
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique", "_unique2", "item")
SHORT = MemoryConfig(mem_every=2, top_k=9, min_working_frames=2, max_working_frames=3, prototypes=5, max_long_term=12)
NETWORKS = {
    "xmem": lambda: XMem(xmem_sizes()),
    "xmem-lite": lambda: XMem(lite_sizes()),
    "stcn": STCN,
    "stm": STM,
    "aot": AOT,
    "cutie": lambda: Cutie(CutieSizes()),
}
assert {name.removesuffix("-lite") for name in NETWORKS} == set(FAMILIES), "a new family is tried, too"


class Watched(TorchDispatchMode):
    """Counts operators that launch something (views do not), those that wait, copies from the host and to it, and
    convolutions whose weights have to be laid anew."""

    def __init__(self):
        super().__init__()
        self.launched, self.waits, self.uploads, self.downloads, self.relaid = 0, Counter(), 0, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        boolean = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in WAITS or boolean:
            self.waits[name] += 1
        if name in ("to", "_to_copy") and args[0].device.type == "cpu" and out.device.type == "cuda":
            self.uploads += 1
        elif name == "copy_" and args[1].device.type == "cuda" and args[0].device.type == "cpu":
            asked = (len(args) > 2 and args[2]) or (kwargs or {}).get("non_blocking")
            self.downloads += 1
            self.waits.update([] if asked else ["a copy to the host"])
        elif (
            isinstance(out, torch.Tensor)
            and out.device.type != "cuda"
            and name not in ("lift_fresh", "detach", "empty")
        ):
            self.waits[f"{name} on the host"] += 1
        if name == "convolution" and not args[1].is_contiguous(memory_format=torch.channels_last):
            self.relaid += 1
        if not func.is_view:
            self.launched += 1
        return out


@contextmanager
def false_cuda(monkeypatch):
    # There is no pinned memory to be had; frames are taken to lie in it, to where the reader's thread brings them.
    monkeypatch.setattr("xmem.engine.transfers.pinned", lambda shape, dtype: torch.empty(shape, dtype=dtype))
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self, *_: True)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


@cache
def folded(name: str):
    """On torch's device without values, where norms can be folded."""
    with unset_fake_temporarily(), torch.device("meta"):
        return fold_batch_norm(NETWORKS[name]().eval().requires_grad_(False))


def network(name: str, dtype: torch.dtype):
    """As `load_model` leaves it on a GPU."""
    with unset_fake_temporarily():
        model = deepcopy(folded(name))

    def on_cuda(tensor: torch.Tensor) -> torch.Tensor:
        own = dtype if tensor.is_floating_point() else tensor.dtype
        layout = torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
        return torch.empty(tensor.shape, dtype=own, device="cuda", memory_format=layout)

    state = {key: on_cuda(tensor) for key, tensor in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    return use_split(model.eval().requires_grad_(False))


def frame() -> np.ndarray:
    return np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def mask(*ids: int) -> np.ndarray:
    index = np.zeros((HEIGHT, WIDTH), np.uint8)
    for place, i in enumerate(ids):
        index[20:60, 10 + 40 * place : 40 + 40 * place] = i
    return index


def watched_steps(engine: Propagator, count: int) -> list[Watched]:
    """Steps without a mask, each watched."""
    steps = []
    for _ in range(count):
        with Watched() as watched:
            prob = engine.step(frame())
        assert prob.device.type == "cuda" and prob.dtype == torch.float32 and prob.shape[-2:] == (HEIGHT, WIDTH)
        steps.append(watched)
    return steps


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, torch.float16) for name in NETWORKS), ("xmem", torch.float32), ("xmem-lite", torch.bfloat16)],
    ids=str,
)
def test_no_step_waits_for_the_device_or_mixes_it_with_the_host(name, dtype, monkeypatch):
    """Plain and memory frames, with consolidations and limits of each family; only the frame goes up, once a step."""
    monkeypatch.setattr("xmem.engine.propagator.overflows", lambda _state: False)  # which looks once, on purpose
    with false_cuda(monkeypatch):
        config = SHORT if name.startswith("xmem") else None
        engine = Propagator(network(name, dtype), config)
        engine.step(frame(), mask(1, 2))
        engine.step(frame())  # the first that reads: tables that depend on the size alone are made on it
        for number, step in enumerate(watched_steps(engine, 13 if name.startswith("xmem") else 7)):
            assert not step.waits and step.uploads == 1, f"step {number}: {step.waits}, {step.uploads} uploads"
            assert not step.relaid, "weights lie as convolutions want them"
        if name.startswith("xmem"):
            assert engine.memory.long_term_size == 12


@pytest.mark.parametrize("name", NETWORKS)
def test_corrections_late_objects_and_smaller_pieces_run_there_too(name, monkeypatch):
    monkeypatch.setattr("xmem.engine.propagator.overflows", lambda _state: False)
    with false_cuda(monkeypatch):
        engine = Propagator(network(name, torch.float16), size=64)
        engine._pieces = Pieces(objects=1, distances=64)
        first = (1, 2) if name == "stm" else (2,)  # STM takes all its objects on the first frame
        engine.step(frame(), mask(*first))
        engine.step(frame())
        prob = engine.step(frame(), mask(1, 2))
        assert prob.shape == (3, HEIGHT, WIDTH) and engine.objects == [1, 2]
        watched_steps(engine, 2)


def test_key_frames_are_remembered_there_and_a_state_goes_to_the_host(monkeypatch):
    with false_cuda(monkeypatch):
        engine = Propagator(network("xmem-lite", torch.float32), SHORT)
        engine.remember(frame(), mask(1, 2))
        watched_steps(engine, 3)
        tensors, _ = engine.video_state.save()
        assert all(tensor.device.type == "cuda" for tensor in tensors.values())


# Launched operators of one object, XMem in float16, batch norms folded: plain frame, memory frame, memory frame with a
# consolidation. Each launch costs the host time; a change that adds some is seen here, one that saves some lowers them.
MOST_LAUNCHED = {"xmem": (284, 427, 653), "xmem-lite": (249, 395, 621)}


@pytest.mark.parametrize("name", MOST_LAUNCHED)
def test_operators_per_frame_are_counted_and_held(name, monkeypatch):
    monkeypatch.setattr("xmem.engine.propagator.overflows", lambda _state: False)
    with false_cuda(monkeypatch):
        engine = Propagator(network(name, torch.float16), MemoryConfig(mem_every=2))
        engine.step(frame(), mask(1))
        launched = [step.launched for step in watched_steps(engine, 20)]
    plain, remembered, consolidated = launched[10], launched[11], max(launched)
    assert launched[17] == consolidated, "the tenth memory frame consolidates"
    found = plain, remembered, consolidated
    assert all(number <= most for number, most in zip(found, MOST_LAUNCHED[name], strict=True)), found


@pytest.mark.parametrize(("ids", "most"), [((1,), 25), (tuple(range(1, 11)), 25), ((2, 3, 9), 31)], ids=str)
def test_results_of_a_frame_are_made_there_and_copied_in_passing(ids, most, monkeypatch):
    """16 bits for each object, and the arg-max of all in as many launches for ten as for one; gaps in ids cost three.
    Resizing is counted by its parts here."""
    arrived = type("Event", (), {"synchronize": lambda self: None})()
    stream = type("Stream", (), {"record_event": lambda self: arrived})()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: stream)
    with false_cuda(monkeypatch):
        prob = torch.empty((len(ids) + 1, 48, 80), device="cuda")
        with Watched() as watched:
            fetch(sixteen_bits(prob[1:]))
            fetch(index_of(resize_to_frame(prob, (HEIGHT, WIDTH)), list(ids)))
        assert not watched.waits and not watched.uploads and watched.downloads == 2
        assert watched.launched <= most, watched.launched


def test_what_another_pass_left_goes_up_in_one_piece_and_is_blended_there(monkeypatch):
    with false_cuda(monkeypatch):
        own = torch.empty((3, 48, 80), device="cuda")
        with Watched() as watched:
            assert _blend(own, np.zeros((2, 48, 80), np.float32), 0.5, True).shape == (3, 48, 80)
        assert not watched.waits and watched.uploads == 1


def test_a_readers_thread_brings_frames_to_where_they_go_up_from(monkeypatch):
    made = []
    monkeypatch.setattr(
        "xmem.engine.transfers.pinned", lambda *args: made.append(torch.empty(args[0], dtype=args[1])) or made[-1]
    )
    frames = [Frame(np.full((4, 6, 3), i, np.uint8), i, 0, 0, str(i)) for i in range(3)]
    near = list(brought_near(iter(frames), torch.device("cuda")))
    assert [frame.index for frame in near] == [0, 1, 2] and len(made) == 3
    for i, frame in enumerate(near):
        assert np.shares_memory(frame.image, made[i].numpy()) and (frame.image == i).all()
    assert list(brought_near(iter(frames), torch.device("cpu"))) == frames


def test_the_false_device_would_show_a_wait_and_a_mix(monkeypatch):
    with false_cuda(monkeypatch):
        x = torch.zeros(3, device="cuda")
        with Watched() as watched:
            x + 1
            torch.zeros(3).to("cuda")
            torch.zeros(3) + 1
            torch.zeros(3).copy_(x)
            wide = torch.empty((4, 8, 3, 3), device="cuda").to(memory_format=torch.channels_last)
            torch.conv2d(torch.empty((1, 4, 9, 9), device="cuda"), wide[:, 2:6])
        assert watched.uploads == 1 and watched.waits["add on the host"] == 1 and watched.relaid == 1
        assert watched.waits["a copy to the host"] == 1
        with pytest.raises(Exception, match="_local_scalar_dense"):
            x.sum().item()
        with pytest.raises(RuntimeError, match="device"):
            x + torch.zeros(3)


def test_settings_of_every_family_are_at_hand():
    for name in FAMILIES:
        assert isinstance(family_config(name), FAMILIES[name].config)
