"""Probabilities to index masks: the two ways agree, given masks are taken as they are."""

import numpy as np
import pytest
import torch

from xmem.engine import masks


class Elsewhere(torch.Tensor):
    """On a device that is no CPU, as far as anybody can tell."""

    is_cpu = False


@pytest.mark.parametrize("ids", [(1,), (3,), (1, 2, 3), (2, 5, 6, 200), tuple(range(1, 12))], ids=str)
def test_the_way_of_a_device_gives_what_the_way_of_a_cpu_gives(ids):
    """Also where probabilities are equal: the first of them counts."""
    rng = np.random.default_rng(0)
    prob = torch.from_numpy(rng.integers(0, 4, (len(ids) + 1, 20, 30)).astype(np.float32))
    expected = np.array([0, *ids])[prob.numpy().argmax(0)]
    assert np.array_equal(masks.index_mask(prob, list(ids)), expected)
    there = masks.index_of(prob.as_subclass(Elsewhere), list(ids))
    assert there.dtype == torch.uint8 and np.array_equal(np.asarray(there.as_subclass(torch.Tensor)), expected)


def test_a_given_mask_counts_for_its_ids_alone():
    prob = torch.tensor([[[0.1, 0.1, 0.8]], [[0.8, 0.2, 0.1]], [[0.1, 0.7, 0.1]]])
    given = np.array([[0, 1, 1]], np.uint8)
    assert masks.index_mask(prob, [1, 2], given).tolist() == [[0, 1, 1]]
    assert masks.index_mask(prob, [1, 2]).tolist() == [[1, 2, 0]]
