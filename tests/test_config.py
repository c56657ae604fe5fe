"""Settings of the memories that cannot work together are refused in one sentence."""

import pytest

from xmem.config import MemoryConfig, interval_of
from xmem.errors import InputError


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"mem_every": 0}, "mem_every must be at least 1"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"min_working_frames": 10}, r"max_working_frames \(10\) must be larger"),
        ({"prototypes": 200, "max_long_term": 100}, r"max_long_term \(100\) must be at least prototypes"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        MemoryConfig(**settings)


@pytest.mark.parametrize(
    ("variant", "size", "interval"), [("lite", 384, 3), ("lite", 320, 3), ("lite", 319, 5), ("resnet", 480, 5)]
)
def test_how_often_a_network_remembers_follows_its_kind_and_its_size(variant, size, interval):
    """Measured: see xmem-lite's model card."""
    assert interval_of(variant, size) == interval
