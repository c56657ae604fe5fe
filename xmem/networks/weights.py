"""From a file's names and arrays to a network in evaluation mode: what every family checks in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from xmem.errors import InputError

M = TypeVar("M", bound=nn.Module)
HELD_IN = ("state_dict", "model")  # where files of a training hold the weights, beside what goes on with it
PARALLEL = "module."  # what torch's DataParallel puts before every name


def named_tensors(state: Mapping[str, Tensor | np.ndarray]) -> dict[str, Tensor]:
    """The tensors of a state dict by their own names; the prefix that training on several GPUs leaves is taken off."""
    tensors = {name: torch.as_tensor(value) for name, value in state.items() if hasattr(value, "shape")}
    if tensors and all(name.startswith(PARALLEL) for name in tensors):
        tensors = {name.removeprefix(PARALLEL): value for name, value in tensors.items()}
    return tensors


def weights_in(content: object) -> object:
    """The state dict in what a training saved, or the content itself, where it holds none."""
    if isinstance(content, Mapping):
        return next((content[name] for name in HELD_IN if isinstance(content.get(name), Mapping)), content)
    return content


def network_of(make: Callable[[], M], tensors: Mapping[str, Tensor], family: str) -> M:
    """The network that `make` builds with these weights: evaluation mode, float32, on the CPU.

    Raises InputError where names or shapes are not the network's own, or a value is not finite.
    """
    with torch.device("meta"):
        network = make()
    check_weights(tensors, network.state_dict(), family)
    return with_weights(network, tensors)


def with_weights(network: M, tensors: Mapping[str, Tensor]) -> M:
    """A network made on the "meta" device, with weights that have been checked: for inference, in float32."""
    float32 = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    network.load_state_dict(float32, assign=True)
    return network.eval().requires_grad_(False)


def check_weights(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], family: str) -> None:
    """Raises InputError where `tensors` are not complete, of the expected shapes and finite; family: for its words."""
    missing = sorted(expected.keys() - tensors.keys())
    extra = sorted(tensors.keys() - expected.keys())
    if missing or extra:
        what = f"lack '{missing[0]}'" if missing else f"hold an unknown '{extra[0]}'"
        raise InputError(
            f"These weights are not a complete {family} checkpoint: they {what} "
            f"({len(missing)} tensors missing, {len(extra)} unknown); fetch the file again or choose another one."
        )
    for name, value in tensors.items():
        if value.shape != expected[name].shape:
            raise InputError(
                f"These weights do not fit together: '{name}' is {list(value.shape)} where {family} has "
                f"{list(expected[name].shape)}; choose another file."
            )
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise InputError(f"These weights are damaged: '{name}' holds values that are not finite; fetch them again.")
