"""The two clips that exports are made from."""

from pathlib import Path

import pytest

from tests.export.discs import SAMPLE, DiscSource, write_uneven


@pytest.fixture
def source() -> DiscSource:
    """Eight frames out of the middle of the sample, 640x360 at 25 per second, with sound."""
    return DiscSource(SAMPLE, 40, 47)


@pytest.fixture
def uneven(tmp_path: Path) -> DiscSource:
    """Seven frames of a variable rate and odd sides, from the clip's third on."""
    return DiscSource(write_uneven(tmp_path / "uneven.mkv"), 2, 8)
