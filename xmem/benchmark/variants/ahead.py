"""Several frames' keys in one batch, ahead of their turns: a GPU that one frame does not fill does several."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmem.engine.preparing import Preparing
from xmem.engine.propagator import Propagator
from xmem.families.xmem import Seen
from xmem.networks.xmem import XMem


def run_in_batches(
    engine: Propagator, images: Iterable[np.ndarray], masks: Mapping[int, np.ndarray], batch: int
) -> Generator[Tensor, None, None]:
    """As `Propagator.run`, with the keys of `batch` frames encoded together; yields probabilities."""
    iterator, number = iter(images), 0
    while frames := list(islice(iterator, batch)):
        engine._encoding = list(_encoded(engine, frames))
        for frame in frames:
            yield engine.step(frame, masks.get(number))
            number += 1


@torch.inference_mode()
def _encoded(engine: Propagator, frames: list[np.ndarray]) -> Iterator[tuple[np.ndarray, Future[Any]]]:
    """Each frame with what `XMemState.encode` gives of it."""
    preparing: Preparing = engine._checked(frames[0], None)
    model = engine.model
    assert isinstance(model, XMem)  # whose keys these are
    images = [preparing.image(frame) for frame in frames]
    key, shrinkage, selection, features = model.encode_key(torch.cat(images))
    for i, (frame, image) in enumerate(zip(frames, images, strict=True)):
        own = slice(i, i + 1)
        f16, f8, f4 = (part[own] for part in features)
        done: Future[Any] = Future()
        done.set_result(Seen(image, key[own], shrinkage[own], selection[own], (f16, f8, f4), None))
        yield frame, done
