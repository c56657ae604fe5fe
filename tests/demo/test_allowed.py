"""What is allowed is said next to the upload."""

import pytest

from demo.html.allowed import line
from xmem.limits import PROFILES, Limits


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("own", "Up to 8.0 GB, 10 h and 36 megapixels a frame."),
        ("space", "Up to 300 MB, 10 min and 9 megapixels a frame."),
        ("gpu", "Up to 1.0 GB, 20 min and 9 megapixels a frame."),
    ],
)
def test_the_limits_of_uploads_are_a_line(profile, said):
    assert line(Limits(**PROFILES[profile])) == said


def test_odd_lengths_are_said_in_full():
    assert "1 min 30 s" in line(Limits(seconds=90))
