"""A clip through the network in training: the same function as the engine computes at test time."""

import numpy as np
import pytest
import torch

from xmem.config import MemoryConfig
from xmem.engine.propagator import Propagator
from xmem.networks.xmem import ModelSizes, XMem
from xmem.training.forward import ClipPlan, affinity, clip_loss, fold_frozen_norms, read_memory, to_network
from xmem.training.losses import segmentation_loss

TINY = ModelSizes("lite", 8, 16, 8, (16, 16, 8), 16, 1)


def tiny_model() -> XMem:
    torch.manual_seed(0)
    model = XMem(TINY).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics that do something
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return model


def test_folding_frozen_norms_changes_neither_outputs_nor_names():
    model, image = tiny_model(), torch.randn(1, 3, 64, 64)
    names, before = list(model.state_dict()), model.encode_key(image)[0]
    fold_frozen_norms(model)
    torch.testing.assert_close(model.encode_key(image)[0], before, rtol=1e-4, atol=1e-4)
    assert list(model.state_dict()) == names


def test_depthwise_layers_stay_in_float32_on_a_cpu():
    model = tiny_model()
    fold_frozen_norms(model)
    block, image = model.key_encoder.blocks[1], torch.randn(1, 16, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        wide = block.expand(image)
        assert (wide.dtype, block.depthwise(wide).dtype) == (torch.bfloat16, torch.float32)


def test_far_keys_do_not_underflow():
    """Keys grow in training; every exponential then underflows unless the maximum is subtracted."""
    keys, query = 1000 * torch.randn(1, 8, 12), 1000 * torch.randn(1, 8, 2, 3)
    values = torch.randn(1, 2, 4, 12)
    readout = read_memory(affinity(keys, torch.ones(1, 1, 12), query, torch.ones_like(query)), values)
    nearest = (keys[0, :, :, None] - query.flatten(2)[0][:, None]).pow(2).sum(0).argmin(0)
    torch.testing.assert_close(readout.flatten(3), values[:, :, :, nearest])


def test_training_predicts_what_the_engine_predicts():
    """Three frames, two objects: losses of the training pass equal the losses of the engine's own probabilities."""
    model, rng = tiny_model(), np.random.default_rng(0)
    frames = rng.integers(0, 255, (1, 3, 64, 64, 3), dtype=np.uint8)
    labels = np.zeros((1, 3, 64, 64), np.uint8)
    labels[:, :, :30, :40], labels[:, :, 40:, 20:] = 1, 2
    engine = Propagator(model, MemoryConfig(mem_every=1, top_k=10_000))
    expected = []
    for t in range(3):
        probabilities = engine.step(frames[0, t], labels[0, 0] if t == 0 else None)[None]
        if t:
            expected.append(segmentation_loss(probabilities.log(), torch.from_numpy(labels[:, t]).long(), 0.3))
    plan = ClipPlan(((), (0,), (0, 1)), deep=(True, True, False), synchronised=(True, True, False))
    truth = torch.from_numpy(labels).long()
    with torch.no_grad():
        loss = clip_loss(model, to_network(frames, torch.device("cpu")), truth, 2, plan, 0.3)
    torch.testing.assert_close(loss, torch.stack(expected).mean(), rtol=1e-3, atol=1e-4)


def test_keys_alike_for_object_and_background_cost_more_than_keys_apart():
    """Two frames, left half object 1: where all keys are one, a place reads both halves; apart, its own."""
    labels = torch.zeros(1, 2, 64, 64, dtype=torch.long)
    labels[..., :32] = 1
    images = torch.zeros(1, 2, 3, 64, 64)
    images[..., :32] = 2.0
    plan, costs = ClipPlan(((), (0,)), deep=(False, False), synchronised=(False, False)), []
    for spread in (0.0, 40.0):
        model = tiny_model()
        encode = model.encode_key

        def encode_key(x, encode=encode, spread=spread):
            keys, shrinkage, selection, features = encode(x)
            places = spread * x[:, :1, ::16, ::16].expand_as(keys)
            return places, torch.ones_like(shrinkage), torch.ones_like(selection), features

        model.encode_key = encode_key
        with torch.no_grad():
            plain, weighted = (clip_loss(model, images, labels, 1, plan, 1.0, weight) for weight in (0.0, 1.0))
        costs.append(float(weighted - plain))
    assert costs[0] == pytest.approx(np.log(2), abs=0.01) and costs[1] < 0.01


def test_plans_read_the_past_only_and_always_something():
    for seed in range(40):
        plan = ClipPlan.random(np.random.default_rng(seed), 8)
        assert plan.references[0] == ()
        for t in range(1, 8):
            read = plan.references[t]
            assert 1 <= len(read) <= 3 and max(read) < t and len(set(read)) == len(read)
