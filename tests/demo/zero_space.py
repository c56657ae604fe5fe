"""The page as a Space with ZeroGPU starts it, under the real `spaces`; but for the GPU, whose part the CPU plays.

Run by test_zero.py, which plays the service that lends GPUs. SLICE names a file: seconds of work in a slice.
"""

import os
from pathlib import Path

import torch
from spaces.zero import torch as lent_torch
from spaces.zero.torch import patching

import xmem  # noqa: F401 - before torch, as ever
from demo import log, start
from demo.runs import zero


def begin_on_cpu(_name: str) -> None:
    """In the worker, in place of CUDA's beginning."""


def onto_cpu(callback=None) -> None:
    """In the worker: what was placed on the GPU before the page was served arrives, on the CPU."""
    for pack in patching.tensor_packs:
        data, at = bytearray(Path(pack.path()).read_bytes()), 0
        for tensor, size, aligned in [entry for batch in (*pack.batches, pack.big_tensors) for entry in batch]:
            values = torch.frombuffer(data[at : at + size], dtype=torch.uint8).untyped_storage()
            arrived = torch.empty([], dtype=tensor.dtype).set_(values, 0, tensor.shape, tensor.stride())
            for fake in pack.fakes[tensor]:
                fake.data = arrived.float()  # of sixteen bits, which a CPU has few operations for
            at += aligned


if __name__ == "__main__":
    lent_torch.init, lent_torch.move = begin_on_cpu, onto_cpu
    asked = zero.slice_seconds
    zero.slice_seconds = lambda expected: float(Path(os.environ["SLICE"]).read_text() or asked(expected))
    log.begin()
    start.start()
