"""The networks of AOT give the released implementation's tensors, and take its weights only if they are whole."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain_aot import prepare
from reference_weights import FOLDER, TOLERANCE, family_state

from xmem.errors import InputError
from xmem.networks.aot import IDENTITIES, LayerMemory, load_state
from xmem.networks.aot.attention import HEADS, RADIUS, TILE, WINDOW, local_attention
from xmem.networks.aot.transformer import position_code
from xmem.pieces import Pieces

REFERENCE = FOLDER / "families" / "aot"


@pytest.fixture(scope="module")
def state():
    return family_state("aot")


@pytest.fixture(scope="module")
def model(state):
    return load_state(state)


def test_the_released_names_and_shapes_are_ours(model):
    released = json.loads((REFERENCE / "state_dict.json").read_text())
    assert {name: list(value.shape) for name, value in model.state_dict().items()} == released


@torch.inference_mode()
def test_stage_tensors_match_the_released_implementation(model):
    """Each network by itself, so that a difference on a frame can be placed."""
    clip = np.load(REFERENCE / "late-object.npz")

    def check(name: str, value: torch.Tensor, every: int = 4) -> None:
        """value: [1, C, h, w], or rows [HW, C] of the grid."""
        expected = clip[f"stage_{name}"]
        if value.dim() == 2:
            value = value.T.unflatten(1, expected.shape[-2:])[None]
        assert np.abs(value[:, ::every].numpy() - expected).max() < TOLERANCE, name

    image = prepare(clip["frames"][0])
    assert list(image.shape[-2:]) == clip["stage_input_size"].tolist()
    check("image", image[..., ::4, ::4], 1)
    for (name, every), value in zip((("f16", 16), ("f8", 32), ("f4", 64)), model.encoder(image), strict=True):
        check(name, value, every)
    features = model.encode(image)
    check("emb", features.embedding)
    check("pos", position_code(256, features.grid, model.device))
    labels = F.interpolate(torch.from_numpy(clip["label_0"])[None, None].float(), size=image.shape[-2:])[0, 0]
    identity = model.identity(labels)
    check("id", identity)
    outputs, traces = model.LSTT(features.embedding, features.grid, None, identity)
    for i, output in enumerate(outputs):
        check(f"reference_{i}", output)
    memory = model.remembered(traces, identity)
    for i in (0, 2):
        check(f"key_{i}", memory[i][0])
        check(f"value_{i}", memory[i][1])

    features = model.encode(prepare(clip["frames"][1]))
    layer, returned = model.LSTT.layers[0], {}
    attentions = {"self_0": layer.self_attn, "long_0": layer.long_term_attn, "short_0": layer.short_term_attn}
    hooks = [
        attention.register_forward_hook(lambda _, __, out, name=name: returned.update({name: out}))
        for name, attention in attentions.items()
    ]
    memory = [LayerMemory(*one, *one) for one in memory]
    outputs, _ = model.LSTT(features.embedding, features.grid, memory, None)
    for hook in hooks:
        hook.remove()
    for name in attentions:
        check(name, returned[name])
    for i, output in enumerate(outputs):
        check(f"lstt_{i}", output)
    check("logits", model.propagate(features, memory)[0], 1)


@pytest.mark.parametrize("grid", [(3, 4), (2, TILE + 1), (17, 2 * TILE), (16, 2 * TILE + 5), (1, 1)])
def test_local_attention_is_that_of_each_query_over_its_window(grid):
    """Frames smaller and larger than the window, widths that fill tiles and that do not."""
    torch.manual_seed(0)
    height, width = grid
    query, key, value = torch.randn(3, height * width, HEADS * 4)
    codes = torch.randn(HEADS, height * width, WINDOW**2)
    value_codes = torch.randn(HEADS, 4, WINDOW**2)
    out = local_attention(query, key, value, codes, value_codes, grid).view(height, width, HEADS, 4)
    query, key, value = (x.view(height, width, HEADS, 4) for x in (query, key, value))
    places = [(y, x) for y in range(height) for x in range(width)]
    for y, x in places[:: max(len(places) // 30, 1)]:
        near = [(v, u) for v, u in places if abs(v - y) <= RADIUS and abs(u - x) <= RADIUS]
        j = [(v - y + RADIUS) * WINDOW + u - x + RADIUS for v, u in near]
        rows, columns = map(list, zip(*near, strict=True))
        for head in range(HEADS):
            logits = key[rows, columns, head] @ query[y, x, head] / math.sqrt(4) + codes[head, y * width + x, j]
            expected = logits.softmax(0) @ (value[rows, columns, head] + value_codes[head][:, j].T)
            assert torch.allclose(out[y, x, head], expected, atol=1e-5)


@torch.inference_mode()
def test_fewer_affinities_at_a_time_give_the_same_numbers(model):
    torch.manual_seed(0)
    features = model.encode(torch.randn(1, 3, 49, 65))
    memory = [LayerMemory(*torch.randn(2, 60, 256), *torch.randn(2, 20, 256)) for _ in range(3)]
    expected, _ = model.propagate(features, memory)
    for distances in (300, 1):
        assert torch.allclose(model.propagate(features, memory, Pieces(distances=distances))[0], expected, atol=1e-4)


def test_prefixes_counters_and_half_precision_of_released_files_load(state, model):
    """What training on several GPUs, another kind of batch norm and a smaller file leave in a state dict."""
    layout = {f"module.{name}": np.float16(value) for name, value in state.items()}
    layout["module.encoder.bn1.num_batches_tracked"] = np.array(7)
    loaded = load_state(layout)
    assert loaded.dtype == torch.float32
    assert loaded.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("decoder.conv_out.bias"), "lack 'decoder.conv_out.bias'"),
        (lambda s: s.update(extra=np.zeros(3)), "unknown 'extra'"),
        (lambda s: s.update({"encoder.bn1.bias": np.zeros(2, np.float32)}), "do not fit together"),
        (lambda s: s.update({"encoder.bn1.bias": np.full(64, np.inf, np.float32)}), "not finite"),
        (lambda s: s.clear(), "not a complete R50-AOTL"),
    ],
)
def test_damaged_or_foreign_weights_are_refused(state, change, sentence):
    broken = dict(state)
    change(broken)
    with pytest.raises(InputError, match=sentence):
        load_state(broken)


@torch.inference_mode()
def test_half_precision_stays_finite(state):
    model = load_state(state).to(torch.bfloat16)
    features = model.encode(torch.randn(1, 3, 49, 65).bfloat16())
    identity = model.identity(torch.randint(0, IDENTITIES + 1, (49, 65)))
    memory = [LayerMemory(*one, *one) for one in model.remembered(model.refer(features, identity), identity)]
    logits, _ = model.propagate(features, memory)
    assert logits.dtype == torch.bfloat16 and torch.isfinite(logits).all()
