"""What a precision's name stands for on a device, and what a network loaded in it computes in."""

import logging

import pytest
import torch

from xmem import InputError, load_model
from xmem.device import PRECISIONS, choose_precision

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


@pytest.mark.parametrize("capabilities", [{"avx512_bf16": True}, {"amx_bf16": True}, {"avx512_f": True}, {}], ids=str)
def test_a_cpu_gets_bfloat16_only_where_it_multiplies_it(monkeypatch, capabilities, caplog):
    """Emulated, bfloat16 is slower than float32."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    native = bool({"avx512_bf16", "amx_bf16"} & capabilities.keys())
    with caplog.at_level(logging.INFO, "xmem"):
        assert choose_precision("auto", CPU) is (torch.bfloat16 if native else torch.float32)
    assert "chosen automatically" in caplog.text


def test_a_torch_that_does_not_tell_means_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_precision("auto", CPU) is torch.float32


def test_graphics_cards_get_what_suits_them():
    assert choose_precision("auto", CUDA) is torch.float16
    assert choose_precision("auto", MPS) is torch.float32


def test_what_is_named_is_taken_or_refused_never_replaced(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    for name in PRECISIONS[1:3]:
        assert choose_precision(name, CUDA) is getattr(torch, name)
    assert choose_precision("bfloat16", CPU) is torch.bfloat16
    for name, device, sentence in [
        ("float16", CPU, "CPU does not compute in float16"),
        ("bfloat16", CUDA, "GPU does not compute in bfloat16"),
        ("half", CPU, "'half' is not a precision: choose one of auto, float32"),
    ]:
        with pytest.raises(InputError, match=sentence):
            choose_precision(name, device)


def test_a_network_is_loaded_in_the_precision_that_is_asked_for():
    """float32 where nothing is said: exact. The precision is checked before the checkpoint is looked for."""
    assert load_model("xmem-lite", "cpu").dtype is torch.float32
    model = load_model("xmem-lite", "cpu", precision="bfloat16")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    with pytest.raises(InputError, match="float16"):
        load_model("no such checkpoint", "cpu", precision="float16")
