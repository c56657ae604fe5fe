"""CUDA graphs for the key, value and decoder networks, by shape and objects: one launch in place of hundreds.

Reading and appending stay eager, since the memories grow.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from xmem.networks.xmem import XMem

METHODS = ("encode_key", "encode_value", "decode")
WARM_UP = 3  # calls before the capture: libraries choose and allocate in them

Capture = Callable[[Callable[[], Any]], tuple[Any, Callable[[], object]]]


class Replay(Protocol):
    def __call__(self) -> object: ...


def capture_on_cuda(function: Callable[[], Any]) -> tuple[Any, Callable[[], object]]:
    """What `function`, which reads and writes tensors that stay, returns, and what computes it anew, in place."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = function()
    return results, graph.replay


class Graphed:
    """A method of which a graph is kept for each kind of arguments: shapes, types, and whatever is no tensor.

    Results are copies, which stay when it is called again.
    """

    def __init__(self, method: Callable[..., Any], capture: Capture = capture_on_cuda):
        self._method, self._capture = method, capture
        self._kept: dict[Any, tuple[list[Tensor], Any, Callable[[], object]]] = {}

    def __call__(self, *arguments: Any) -> Any:
        flat, form = tree_flatten(arguments)
        tensors = [x for x in flat if isinstance(x, Tensor)]
        key = (str(form), *((tuple(x.shape), x.dtype, x.stride()) if isinstance(x, Tensor) else x for x in flat))
        if key not in self._kept:
            still = [x.clone(memory_format=torch.preserve_format) for x in tensors]
            feed = iter(still)
            fixed = tree_unflatten([next(feed) if isinstance(x, Tensor) else x for x in flat], form)
            self._kept[key] = (still, *self._capture(lambda: self._method(*fixed)))
        still, results, replay = self._kept[key]
        for target, source in zip(still, tensors, strict=True):
            target.copy_(source)
        replay()
        flat, form = tree_flatten(results)
        return tree_unflatten([x.clone() if isinstance(x, Tensor) else x for x in flat], form)


def graphed(model: XMem, capture: Capture = capture_on_cuda) -> XMem:
    """A copy of a network whose three methods are replayed."""
    model = copy.deepcopy(model)
    for name in METHODS:
        setattr(model, name, Graphed(getattr(model, name), capture))
    return model
