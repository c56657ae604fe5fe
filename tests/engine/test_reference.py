"""The engine gives the released implementation's numbers, frame by frame (tests/reference/README.md)."""

import numpy as np
import pytest
import torch
from reference_weights import FOLDER, TOLERANCE, config_of, released_state

import xmem
from xmem.engine.preparing import IMAGE_MEAN, IMAGE_STD
from xmem.networks.cpu.winograd_layer import WinogradConv2d
from xmem.networks.xmem import aggregate, load_state


@pytest.mark.parametrize(
    ("name", "convolutions"),
    [("two-objects", "direct"), ("long-run", "as measured"), ("two-objects", "all Winograd")],
)
def test_every_frame_matches_the_released_implementation(name, convolutions, monkeypatch):
    """Also where every 3x3 convolution goes Winograd's way, whatever its size, and where none may."""
    if convolutions == "all Winograd":
        monkeypatch.setattr("xmem.networks.cpu.winograd_layer.gain", lambda *_: 2.0)
    reference = np.load(FOLDER / f"{name}.npz")
    model = xmem.load_model(released_state(int(reference["salt"])), device="cpu", winograd=convolutions != "direct")
    assert any(isinstance(layer, WinogradConv2d) for layer in model.modules()) == (convolutions != "direct")
    engine = xmem.Propagator(model, config_of(reference))
    for t, (frame, expected) in enumerate(zip(reference["frames"], reference["prob"], strict=True)):
        given = f"mask_{t}"
        prob = engine.step(frame, reference.get(given))
        assert prob.dtype == torch.float32
        assert np.abs(prob.numpy() - expected / 65535).max() < TOLERANCE, f"frame {t}"
    assert engine.memory.working_size == int(reference["working_size"])
    assert engine.memory.long_term_size == int(reference["long_term_size"])


def test_stage_tensors_match_the_released_implementation():
    """Each network by itself, so that a difference on a frame can be placed."""
    reference = np.load(FOLDER / "two-objects.npz")
    model = load_state(released_state(int(reference["salt"])))

    def image(t: int) -> torch.Tensor:
        x = torch.from_numpy(reference["frames"][t]).permute(2, 0, 1).float() / 255
        return ((x - torch.tensor(IMAGE_MEAN)[:, None, None]) / torch.tensor(IMAGE_STD)[:, None, None])[None]

    def check(name: str, value: torch.Tensor) -> None:
        assert np.abs(value.numpy() - reference[f"stage_{name}"]).max() < TOLERANCE, name

    key, shrinkage, selection, features = model.encode_key(image(0))
    for name, value in {"key": key, "shrinkage": shrinkage, "selection": selection}.items():
        check(name, value)
    for name, value in zip(("f16", "f8", "f4"), features, strict=True):
        check(name, value[:, ::16])
    masks = torch.stack([torch.from_numpy(reference["mask_0"] == i) for i in (1, 2)])[None].float()
    value, sensory = model.encode_value(image(0), features[0], masks, model.initial_sensory(1, 2, 6, 10), True)
    check("value", value)
    check("hidden_after_value", sensory)
    features = model.encode_key(image(1))[3]
    logits, sensory = model.decode(features, torch.from_numpy(reference["stage_readout"]), sensory, True)
    check("hidden_after_segment", sensory)
    check("logits", aggregate(torch.sigmoid(logits)))
