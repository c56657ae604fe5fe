"""The seam between engine and families: a family is one record, and nothing else need know of it."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import xmem
from xmem.errors import InputError
from xmem.families import FAMILIES, Family, Grid, VideoState, family_of
from xmem.memory import MemoryUse
from xmem.networks import Network

RED, GREEN = (200, 0, 0), (0, 200, 0)


class ColourNetwork(Network):
    """Weighs how far two colours lie apart."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(4.0))


@dataclass(frozen=True)
class ColourConfig:
    blend: float = 0.0  # of a new mean colour into the one that is remembered


class ColourState(VideoState):
    """Remembers the mean colour of each object where its mask was given; a pixel is what it is nearest to."""

    def __init__(self, model, config):
        super().__init__(model, config)
        self.colours = torch.zeros(1, 3)  # of the background, and of each object

    def encode(self, image, ahead=False):
        return image

    def step(self, seen, given, turn, pieces, finish):
        arrived, colours = self.arrived, self.colours
        if given:
            arrived = arrived + [i for i in given.ids if i not in arrived]
            means = [(seen * mask).sum((0, 2, 3)) / mask.sum() for mask in given.masks[0]]
            rest = 1 - given.masks.sum(1, keepdim=True)
            known = {0: (seen * rest).sum((0, 2, 3)) / rest.sum(), **dict(zip(given.ids, means, strict=True))}
            colours = torch.stack(
                [known.get(i, colours[min(n, len(colours) - 1)]) for n, i in enumerate([0, *arrived])]
            )
        apart = (seen - colours[:, :, None, None]).square().sum(1)  # [O + 1, H, W]
        prob = torch.softmax(-self.model.scale * apart, 0)[None]
        finished = finish(prob, arrived)
        self.arrived, self.colours = arrived, colours
        return finished

    def remember(self, seen, given, pieces):
        raise InputError("Colours are remembered from steps alone: give the mask to `step`.")

    def use(self):
        return MemoryUse(0, len(self.colours), 0, self.colours.numel() * 4)

    def save(self):
        return {"colours": self.colours}, {"arrived": self.arrived}

    def load(self, tensors, values):
        self.colours, self.arrived = tensors["colours"], list(values["arrived"])


def build(state):
    model = ColourNetwork()
    model.load_state_dict({"scale": torch.as_tensor(state["scale"])})
    return model.eval().requires_grad_(False)


COLOUR = Family(
    name="colour",
    title="Colour",
    network=ColourNetwork,
    config=ColourConfig,
    released=lambda BLEND=0.0: ColourConfig(BLEND),
    recognises=lambda state: "scale" in state,
    build=build,
    open=ColourState,
    grid=Grid(multiple=8),
)


@pytest.fixture
def colour(monkeypatch):
    monkeypatch.setitem(FAMILIES, "colour", COLOUR)
    return {"scale": torch.tensor(4.0)}


def picture(shift: int) -> np.ndarray:
    """A red and a green square on black, moved by `shift`: uint8 [40, 60, 3]."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[8:20, 4 + shift : 16 + shift], image[22:34, 30 + shift : 42 + shift] = RED, GREEN
    return image


def squares(shift: int) -> np.ndarray:
    image = picture(shift)
    return np.where(image[..., 0] > 0, 2, np.where(image[..., 1] > 0, 7, 0)).astype(np.uint8)


def test_a_family_in_one_record_is_recognised_and_stepped(colour):
    model = xmem.load_model(colour, "cpu")
    assert isinstance(model, ColourNetwork) and family_of(model) is COLOUR
    engine = xmem.Propagator(model)
    for shift in range(3):
        prob = engine.step(picture(shift), squares(0) if shift == 0 else None)
        assert prob.shape == (3, 40, 60) and engine.objects == [2, 7]
        assert (np.array([0, 2, 7])[prob.argmax(0).numpy()] == squares(shift)).all()


def test_a_family_runs_through_sessions_and_videos_as_xmem_does(colour, tmp_path):
    from tests.video.clips import write_clip

    clip = write_clip(tmp_path / "clip.mp4", [picture(shift) for shift in range(5)])
    model = xmem.load_model(colour, "cpu")
    results = list(xmem.segment_video(clip, {0: squares(0)}, tmp_path / "out", model=model, size=None))
    assert len(results) == 5 and (results[-1].mask == squares(4)).mean() > 0.97
    session = xmem.Session.create(clip, tmp_path / "session")
    session.set_key_frame(0, squares(0))
    list(session.propagate(xmem.TrackSettings(size=None), model))
    assert (session.mask(4) == squares(4)).mean() > 0.97


def test_settings_by_released_names_are_the_familys_own(colour):
    assert xmem.family_config("colour", BLEND=0.5) == ColourConfig(0.5)
    assert xmem.family_config("xmem", mem_every=3, enable_long_term=False) == xmem.MemoryConfig(3, long_term=False)
    with pytest.raises(InputError, match="XMem has no setting"):
        xmem.family_config("xmem", stagger_updates=5)
    with pytest.raises(InputError, match=r"There is no family 'sam': choose one of xmem"):
        xmem.family_config("sam")


def test_weights_that_no_family_recognises_are_refused_with_the_families_named():
    with pytest.raises(InputError, match=r"none of the networks that are known here \(XMem"):
        xmem.load_model({"layer.weight": torch.zeros(3)}, "cpu")
