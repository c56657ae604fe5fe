"""Soft aggregation: several objects' own probabilities become one distribution for each pixel."""

import pytest
import torch

from xmem.networks.xmem import aggregate, soft_aggregate


@pytest.mark.parametrize("objects", [1, 2, 9])
def test_odds_over_their_sum_are_the_softmax_of_log_odds(objects):
    torch.manual_seed(0)
    prob = torch.sigmoid(8 * torch.randn(1, objects, 40, 60))
    prob[..., 0], prob[..., 1] = 0, 1  # a mask that was given: certain pixels, also of several objects at once
    plain = torch.softmax(aggregate(prob), 1)
    torch.testing.assert_close(soft_aggregate(prob), plain, atol=1e-6, rtol=0)
    torch.testing.assert_close(soft_aggregate(prob).sum(1), torch.ones(1, 40, 60))


def test_half_precision_is_aggregated_in_float32():
    prob = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    for dtype in (torch.float16, torch.bfloat16):
        found = soft_aggregate(prob.to(dtype))
        assert found.dtype == torch.float32 and torch.isfinite(found).all()
        torch.testing.assert_close(found, soft_aggregate(prob))


def test_what_is_aggregated_stays_as_it_was():
    prob = torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 1, 3)
    before = prob.clone()
    soft_aggregate(prob)
    aggregate(prob)
    assert torch.equal(prob, before)


def test_training_can_go_back_through_log_odds():
    prob = torch.tensor([0.2, 0.6]).view(1, 2, 1, 1).requires_grad_()
    aggregate(prob).sum().backward()
    assert torch.isfinite(prob.grad).all() and (prob.grad != 0).all()
