"""What a precision's name stands for on a device, and what a network loaded in it computes in."""

import logging
import os
import subprocess
import sys

import cv2
import pytest
import torch

from xmem import InputError, load_model
from xmem import device as device_module
from xmem.device import PRECISIONS, choose_precision, convolves, is_native, is_out_of_memory

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


@pytest.fixture
def onednn(monkeypatch):
    """Sets what oneDNN says to bfloat16, whatever this machine's does."""
    return lambda takes: monkeypatch.setattr(device_module, "convolves", lambda _: takes)


@pytest.mark.parametrize("capabilities", [{"avx512_bf16": True}, {"amx_bf16": True}, {"avx512_f": True}, {}], ids=str)
@pytest.mark.parametrize("takes", [True, False])
def test_a_cpu_gets_bfloat16_only_where_it_multiplies_it(monkeypatch, onednn, capabilities, takes, caplog):
    """Emulated, bfloat16 is slower than float32; what a processor has counts only where oneDNN uses it."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    onednn(takes)
    native = takes and bool({"avx512_bf16", "amx_bf16"} & capabilities.keys())
    with caplog.at_level(logging.INFO, "xmem"):
        assert choose_precision("auto", CPU) is (torch.bfloat16 if native else torch.float32)
    assert "chosen automatically" in caplog.text
    assert is_native("bfloat16", CPU) == native and is_native("float32", CPU) and not is_native("float16", CPU)


def test_bfloat16_by_name_is_emulated_with_a_word_or_refused_where_it_would_take_minutes(monkeypatch, onednn, caplog):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True}, raising=False)
    onednn(True)
    with caplog.at_level(logging.INFO, "xmem"):
        assert choose_precision("bfloat16", CPU) is torch.bfloat16
    assert "float32 is likely to be faster" in caplog.text
    onednn(False)
    with pytest.raises(InputError, match="CPU does not compute in bfloat16: choose float32"):
        choose_precision("bfloat16", CPU)


PROBE = "import torch; from xmem.device import convolves; print(convolves(torch.float32), convolves(torch.bfloat16))"


def test_a_cpu_held_to_avx2_says_so():
    """As oneDNN does, by whose word `make held-down` shows what a smaller machine would do."""
    held = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    told = subprocess.run([sys.executable, "-c", PROBE], env=held, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["True", "False"]


def test_a_torch_that_does_not_tell_means_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_precision("auto", CPU) is torch.float32


def test_graphics_cards_get_what_suits_them():
    assert choose_precision("auto", CUDA) is torch.float16
    assert choose_precision("auto", MPS) is torch.float32


def test_what_is_named_is_taken_or_refused_never_replaced(monkeypatch, onednn):
    onednn(True)
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
    if convolves(torch.bfloat16):
        model = load_model("xmem-lite", "cpu", precision="bfloat16")
        assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    with pytest.raises(InputError, match="float16"):
        load_model("no such checkpoint", "cpu", precision="float16")


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB.",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "GET was unable to find an engine to execute this computation",
        "cuDNN error: DEVICE_ALLOCATION_FAILED",
        "MPS backend out of memory (MPS allocated: 8 GB)",
    ],
)
def test_a_full_memory_is_known_by_each_librarys_words(words):
    assert is_out_of_memory(RuntimeError(words))
    assert not is_out_of_memory(ValueError(words))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 1), (8, 4)])
def test_opencv_leaves_half_of_the_cores_to_the_other_stages(monkeypatch, cores, expected, device):
    """Its threads spin while they wait, wherever the network runs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    before, torchs = cv2.getNumThreads(), torch.get_num_threads()
    try:
        cv2.setNumThreads(64)
        monkeypatch.setattr(device_module, "allowed_cores", lambda: cores)
        device_module.select_device(device)
        assert cv2.getNumThreads() == expected
        cv2.setNumThreads(1)  # whoever has set fewer is left alone
        device_module.select_device(device)
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)
        torch.set_num_threads(torchs)
