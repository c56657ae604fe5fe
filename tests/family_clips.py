"""Clips on which families are stepped: references of the released code, and small ones that are made up."""

import json

import numpy as np
from reference_weights import FOLDER

HEIGHT, WIDTH = 40, 56


class ReferenceClip:
    """A file of tests/reference/families: frames, masks by frame number, settings by their released names, and the
    probabilities [O + 1, H, W] of each frame, channels by id."""

    def __init__(self, family: str, name: str):
        file = np.load(FOLDER / "families" / family / f"{name}.npz")
        self.frames = file["frames"]
        self.config = json.loads(str(file["config"]))
        self.salt = int(file["salt"])
        self.masks = {int(key[5:]): file[key] for key in file if key.startswith("mask_")}
        self.probabilities = [file[f"prob_{t}"] / 65535 for t in range(len(self.frames))]
        self.elements = file["memory_elements"].tolist() if "memory_elements" in file else None


def made_up_frames(count: int, seed: int = 0) -> list[np.ndarray]:
    """Noise that moves, uint8 [H, W, 3]: no multiple of 16, odd margins."""
    texture = np.random.default_rng(seed).integers(0, 256, (HEIGHT + count, WIDTH + count, 3), np.uint8)
    return [np.ascontiguousarray(texture[t : t + HEIGHT, t : t + WIDTH]) for t in range(count)]


def boxes(**places: tuple[int, int, int, int]) -> np.ndarray:
    """An index mask: id_3=(top, bottom, left, right) gives the box to object 3."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for name, (top, bottom, left, right) in places.items():
        mask[top:bottom, left:right] = int(name.removeprefix("id_"))
    return mask
