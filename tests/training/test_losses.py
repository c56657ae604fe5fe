"""Losses: what they reward, and which pixels count."""

import pytest
import torch

from xmem.training.losses import dice, hardest_cross_entropy, segmentation_loss


def logits_of(label: torch.Tensor, strength: float) -> torch.Tensor:
    return strength * torch.nn.functional.one_hot(label, 3).movedim(-1, 1).float()


def test_a_right_answer_costs_next_to_nothing_and_a_wrong_one_much():
    label = torch.randint(0, 3, (2, 16, 16), generator=torch.Generator().manual_seed(0))
    assert segmentation_loss(logits_of(label, 20), label, 0.15) < 1e-3
    assert segmentation_loss(logits_of((label + 1) % 3, 20), label, 0.15) > 10


def test_only_the_hardest_share_of_pixels_counts():
    label = torch.zeros(1, 10, 10, dtype=torch.long)
    logits = logits_of(label, 30)
    logits[0, :, 0, 0] = torch.tensor([0.0, 7.0, 0.0])  # one wrong pixel of 100
    wrong = torch.nn.functional.cross_entropy(logits[0, :, 0, 0][None], torch.tensor([0]))
    assert hardest_cross_entropy(logits, label, 0.01) == pytest.approx(float(wrong))
    assert hardest_cross_entropy(logits, label, 1.0) == pytest.approx(float(wrong) / 100, rel=1e-4)


def test_dice_counts_small_objects_as_much_as_large_ones():
    label = torch.zeros(1, 32, 32, dtype=torch.long)
    label[:, :24], label[:, 30:, :3] = 1, 2
    small_lost = torch.nn.functional.one_hot(torch.where(label == 2, 0, label), 3).movedim(-1, 1).float()
    assert dice(small_lost, label) == pytest.approx(0.5 * (1 - 1 / 7), abs=0.02)  # 6 pixels cost half
