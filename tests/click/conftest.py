"""An image with two objects of different colours, and a click network of random weights in a file."""

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from xmem.click import Clicker
from xmem.networks.click import ClickNet


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("click") / "random.safetensors"
    save_file(ClickNet().state_dict(), path)
    return path


@pytest.fixture(scope="session")
def random_clicker(random_weights):
    return Clicker(random_weights, "cpu", "float32")


def picture(width: int = 200, height: int = 140) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A textured image uint8 [H, W, 3], and where its disc and its square are, bool [H, W]."""
    rng = np.random.default_rng(0)
    image = np.repeat(rng.integers(90, 130, (height, width, 1), dtype=np.uint8), 3, axis=2)
    disc, square = np.zeros((2, height, width), np.uint8)
    cv2.circle(disc, (width // 4, height // 2), height // 5, 1, -1)
    square[height // 3 : 2 * height // 3, 3 * width // 5 : 9 * width // 10] = 1
    image[disc > 0], image[square > 0] = (210, 40, 40), (40, 60, 200)
    return cv2.GaussianBlur(image, (0, 0), 0.7), disc > 0, square > 0
