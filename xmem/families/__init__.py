"""The families of networks that the engine can step through a video; a family is a folder of `xmem.networks` and a
record here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch

from xmem.errors import InputError
from xmem.families.aot import AOT_FAMILY
from xmem.families.base import Family, Given, Grid, Outlook, Setting, Turn, VideoState
from xmem.families.cutie import CUTIE
from xmem.families.stcn import STCN_FAMILY
from xmem.families.stm import STM_FAMILY
from xmem.families.xmem import XMEM
from xmem.networks import Network
from xmem.networks.weights import named_tensors, weights_in
from xmem.pieces import WHOLE

__all__ = [
    "FAMILIES",
    "Family",
    "Given",
    "Grid",
    "Outlook",
    "Setting",
    "Turn",
    "VideoState",
    "build",
    "family_config",
    "family_of",
    "fits_range",
    "overflows",
    "recognised",
]

FAMILIES: dict[str, Family] = {family.name: family for family in (XMEM, STCN_FAMILY, STM_FAMILY, AOT_FAMILY, CUTIE)}


def family_of(model: Network) -> Family:
    """The family of a network."""
    return next(family for family in FAMILIES.values() if isinstance(model, family.network))


def build(state: Mapping[str, Any]) -> Network:
    """The network of names -> tensors, or of a mapping that holds them as "state_dict" or "model", of whichever family
    recognises them: in evaluation mode, float32, on the CPU.

    Raises InputError where no family does, or the weights are not complete and finite.
    """
    tensors = named_tensors(cast(Mapping[str, Any], weights_in(state)))
    return recognised(tensors).build(tensors)


def recognised(tensors: Mapping[str, Any]) -> Family:
    """The family that names -> tensors are weights of. Raises InputError where there is none."""
    for family in FAMILIES.values():
        if family.recognises(tensors):
            return family
    titles = ", ".join(family.title for family in FAMILIES.values())
    raise InputError(
        f"These weights are of none of the networks that are known here ({titles}): choose a checkpoint of one of them."
    )


def overflows(state: VideoState) -> bool:
    """Whether anything that is remembered is beyond the range of its numbers; waits for the device."""
    tensors = [tensor for tensor in state.save()[0].values() if tensor.is_floating_point()]
    return not all(torch.isfinite(tensor).all() for tensor in tensors)


@torch.inference_mode()
def fits_range(model: Network) -> bool:
    """Whether a network can remember a frame in its precision, tried with one of noise."""
    family = family_of(model)
    side = 4 * family.grid.multiple + family.grid.plus_one
    state = family.open_at((side, side), model, family.config())
    image = torch.randn((1, 3, side, side), generator=torch.Generator().manual_seed(0))
    index = np.zeros((side, side), np.uint8)
    index[: side // 2] = 1
    masks = torch.from_numpy(index).float()[None, None].to(model.device)
    seen = state.encode(image.to(model.device, model.dtype))
    state.step(seen, Given([1], index, masks), Turn(0), WHOLE, lambda prob, _: prob)
    return not overflows(state)


def family_config(name: str, **released: Any) -> Any:
    """Settings of the family `name`, by the names that its released code uses. Raises InputError for an unknown one."""
    if name not in FAMILIES:
        raise InputError(f"There is no family '{name}': choose one of {', '.join(FAMILIES)}.")
    return FAMILIES[name].released(**released)
