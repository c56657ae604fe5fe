"""Average of several weights of one network, as a checkpoint.

python -m xmem.training.average OUT SHARE:FILE ...   (0.5:run1/best.safetensors 0.5:run2/best.safetensors)
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from xmem.checkpoints import read_state
from xmem.errors import InputError
from xmem.training.loop import export


def average(states: Sequence[dict[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """The weighted mean of state dicts in float32; integers are the first one's.

    It works where all of them went out from the same weights. Raises InputError where tensors do not match, or where
    the shares do not add up to 1.
    """
    if abs(sum(shares) - 1) > 1e-6:
        raise InputError(f"The shares add up to {sum(shares):g}: they must add up to 1.")
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    if any(other != shapes[0] for other in shapes):
        raise InputError("These files are not of the same network: choose weights of one.")
    return {
        name: torch.stack([share * state[name].float() for share, state in zip(shares, states, strict=True)]).sum(0)
        if first.is_floating_point()
        else first
        for name, first in states[0].items()
    }


def _architecture(path: Path) -> dict[str, str]:
    """What a checkpoint says that it is of, if it does."""
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
    except SafetensorError:  # of torch.save, which has no place to say it
        return {}
    return {name: about[name] for name in ("architecture",) if name in about}


def main(words: Sequence[str] | None = None) -> int:
    """Write the average of some weights."""
    parser = argparse.ArgumentParser(prog="python -m xmem.training.average", description=main.__doc__)
    parser.add_argument("out", type=Path, help="file to write (.safetensors, float16)")
    parser.add_argument("parts", nargs="+", metavar="SHARE:FILE", help="shares add up to 1")
    args = parser.parse_args(words)
    shares, paths = zip(*(part.split(":", 1) for part in args.parts), strict=True)
    state = average([read_state(Path(path)) for path in paths], [float(share) for share in shares])
    export(state, args.out, _architecture(Path(paths[0])) | {"average": " ".join(shares)})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
