"""How long frames take against the plain form of each family, paired and interleaved, by the clock and in processor
time. By the clock alone tells what a user waits for, where the machine has nothing else to do; beside other work only
the processor's time means something.

    PYTHONPATH=tests python -m tests.plain_speed [family ...] [--size 480] [--objects 1 3] [--rounds 2]

The plain form computes as released code does: weights as they are loaded (batch norms apart, NCHW, every convolution
direct), dense affinities multiplied with all values, every object decoded for itself with the image's channels, and
AOT's window copied for every position. Weights are those of the tests, which have no meaning.
"""

import argparse
import time

import numpy as np
import plain_cutie
import torch
import torch.nn.functional as F
from plain_aot import PlainAOT
from plain_cutie import PlainCutie
from plain_stcn import plain_stcn
from plain_stm import plain_stm
from reference_weights import family_state

import xmem
from xmem.benchmark.clips import stand_in
from xmem.families import build
from xmem.networks.aot import attention
from xmem.networks.aot.attention import HEADS, RADIUS, WINDOW


class OneByOne:
    """A network whose decoder sees one object at a time, with the image's channels each time."""

    def __init__(self, network):
        self.network = network

    def __getattr__(self, name):
        return getattr(self.network, name)

    def image_part(self, features):
        return features

    def decode(self, features, readout):
        parts = readout.split(1, 1)
        return torch.cat([self.network.decode(self.network.image_part(features), part) for part in parts], 1)


def windowed(query, key, value, codes, value_codes, grid):
    """Keys and values of every position's window, copied: [C, 225, HW] each."""

    def copied(x):
        x = F.unfold(x.T.reshape(1, -1, *grid), WINDOW, padding=RADIUS)
        return x.view(HEADS, -1, WINDOW**2, grid[0] * grid[1])  # [8, d, 225, HW]

    dims = value_codes.shape[1]
    inside = F.unfold(torch.ones(1, 1, *grid), WINDOW, padding=RADIUS)[0]  # [225, HW]
    queries = query.T.reshape(HEADS, dims, 1, -1)
    affinity = (queries / dims**0.5 * copied(key)).sum(1) + codes.transpose(1, 2)
    weights = affinity.masked_fill(inside == 0, -torch.inf).softmax(1)  # [8, 225, HW]
    out = (weights[:, None] * copied(value)).sum(2) + value_codes @ weights
    return out.flatten(0, 1).T


def expanded(key, shrinkage, query, selection):
    """`plain_cutie.similarity` as matrix products."""
    squares = (key**2).T @ selection - 2 * key.T @ (query * selection) + (selection * query**2).sum(0)
    return -shrinkage[0][:, None] * squares / len(key) ** 0.5


def plain(family, network, frames, mask):
    if family == "stcn":
        return plain_stcn(OneByOne(network), frames, {0: mask})[0][len(frames) - 1]
    if family == "stm":
        return plain_stm(OneByOne(network), frames, mask)[0][-1]
    if family == "aot":
        engine, ours = PlainAOT(network, 5, 1), attention.local_attention
        attention.local_attention = windowed
        try:
            return [engine.step(frame, mask if n == 0 else None) for n, frame in enumerate(frames)][-1]
        finally:
            attention.local_attention = ours
    config = {"mem_every": 5, "stagger_updates": 5, "top_k": 30, "use_long_term": False, "max_mem_frames": 5}
    engine = PlainCutie(network, config)
    with torch.inference_mode():
        return [engine.step(frame, mask if n == 0 else None) for n, frame in enumerate(frames)][-1]


def ours(network, frames, mask):
    engine = xmem.Propagator(network)
    return [engine.step(frame, mask if n == 0 else None) for n, frame in enumerate(frames)][-1]


def timed(function, *arguments):
    """Seconds by the clock and of the processor, and the answer."""
    began = np.array([time.perf_counter(), time.process_time()])
    answer = function(*arguments)
    return np.array([time.perf_counter(), time.process_time()]) - began, answer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("families", nargs="*", default=["stcn", "stm", "aot", "cutie"])
    parser.add_argument("--size", type=int, default=480)
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--frames", type=int, default=7, help="the mask, a period of memory, and one that reads two")
    args = parser.parse_args()
    plain_cutie.similarity = expanded
    width = 854 if args.size == 480 else 2 * round(args.size * 8 / 9)
    ground = np.random.default_rng(0).integers(0, 256, (args.size // 8 + 2, width // 8 + 2, 3), np.uint8)
    frames = [
        np.roll(ground.repeat(8, 0).repeat(8, 1), 3 * t, 1)[: args.size, :width].copy() for t in range(args.frames)
    ]
    for family in args.families:
        state = {name: torch.from_numpy(value) for name, value in family_state(family).items()}
        network, fast = build(state), xmem.load_model(state, "cpu")
        for objects in args.objects:
            mask, pairs = stand_in(width, args.size, objects), []
            for _ in range(args.rounds):
                (slow, expected), (quick, found) = (
                    timed(plain, family, network, frames, mask),
                    timed(ours, fast, frames, mask),
                )
                pairs.append((slow, quick))
            apart = (expected - found).abs().max().item()
            clock, processor = (", ".join(f"{quick[i] / slow[i]:.2f}" for slow, quick in pairs) for i in (0, 1))
            slow, quick = (min(pair[i][0] for pair in pairs) / args.frames for i in (0, 1))
            print(
                f"{family}, {objects} objects: {clock} of the plain form by the clock, {processor} in processor time; "
                f"{slow:.2f} and {quick:.2f} s a frame; {apart:.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
