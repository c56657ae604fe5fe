"""The average of weights of several runs."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from xmem.errors import InputError
from xmem.training.average import average, main


def test_floating_point_is_averaged_by_share_and_written(tmp_path):
    for name, value in (("a", 1.0), ("b", 5.0)):
        tensors = {"w": torch.full((2,), value), "n": torch.tensor([3])}
        save_file(tensors, tmp_path / f"{name}.safetensors", {"architecture": "xmem-click", "step": "7"})
    out = tmp_path / "out.safetensors"
    assert main([str(out), f"0.75:{tmp_path / 'a.safetensors'}", f"0.25:{tmp_path / 'b.safetensors'}"]) == 0
    written = load_file(out)
    assert written["w"].tolist() == [2.0, 2.0] and written["n"].tolist() == [3]
    with safe_open(out, "pt") as file:  # it is of the network that its parts are of, but of no step
        assert file.metadata() == {"architecture": "xmem-click", "average": "0.75 0.25"}


@pytest.mark.parametrize("shares", [(0.5, 0.6), (0.5, 0.5)])
def test_wrong_shares_and_other_networks_are_refused(shares):
    states = [{"w": torch.zeros(2)}, {"w": torch.zeros(3)}]
    with pytest.raises(InputError, match="add up to" if sum(shares) != 1 else "same network"):
        average(states, shares)
