"""GIF and WebP: small enough to send, true to the style, in the clip's time."""

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

from tests.export.discs import SAMPLE, DiscSource, finish, write_uneven
from tests.video.clips import flat_images, write_clip
from xmem.render.overlay import tint
from xmem.render.palette import color_of


def _durations(path) -> list[int]:
    """Milliseconds of each picture."""
    with Image.open(path) as image:
        assert image.info.get("loop") == 0, "for ever"
        found = []
        for place in range(image.n_frames):
            image.seek(place)
            image.load()  # of a WebP, Pillow tells it only then
            found.append(image.info["duration"])
        return found


@pytest.mark.parametrize(("kind", "error"), [("gif", 9), ("webp", 4)])
def test_it_shows_every_other_frame_of_25_per_second(source, tmp_path, kind, error):
    """12.5 a second is the most that is even and not above 15."""
    path = finish(kind, source, tmp_path)
    assert _durations(path) == [80, 80, 80, 80]
    shown = iio.imread(path, index=..., plugin="pillow")
    assert shown.shape[:3] == (4, 360, 640)
    for place, frame in ((0, 40), (3, 46)):
        expected = tint(source.image(frame), source.mask(frame), 0.5, {1: color_of(1), 3: color_of(5)})
        assert np.abs(shown[place][..., :3].astype(int) - expected).mean() < error


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_uneven_times_are_kept(tmp_path, kind):
    """Pictures at 0, 40, 140, 160, 200, 400, 420 ms: those that follow too soon are passed over."""
    source = DiscSource(write_uneven(tmp_path / "uneven.mkv"), 2, 8)
    durations = _durations(finish(kind, source, tmp_path))
    assert durations[:2] == [140, 260]
    assert len(durations) == 3


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_large_videos_become_small_with_square_pixels(tmp_path, kind):
    def stretch(stream):
        stream.codec_context.sample_aspect_ratio = 2

    clip = write_clip(tmp_path / "wide.mp4", flat_images(3, 720, 720), configure=stretch)
    with Image.open(finish(kind, DiscSource(clip, 0, 2), tmp_path)) as image:
        assert image.size == (720, 360)


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_one_frame_is_enough(tmp_path, kind):
    with Image.open(finish(kind, DiscSource(SAMPLE, 10, 10), tmp_path)) as image:
        assert (image.size, image.n_frames) == ((640, 360), 1)


def test_gif_dithers_a_gradient_without_bands(tmp_path):
    """Averaged over a few pixels, a smooth ramp stays smooth."""
    ramp = np.tile(np.linspace(40, 200, 320)[None, :, None], (240, 1, 3)).astype(np.uint8)
    ramp[..., 2] = 255 - ramp[..., 2]
    source = DiscSource(write_clip(tmp_path / "ramp.mp4", [ramp] * 2, options={"qp": "4"}), 0, 0)
    source.mattes = lambda frame: {i: np.zeros((240, 320), np.uint8) for i in (1, 3)}
    shown = iio.imread(finish("gif", source, tmp_path))[0].astype(float)
    original = source.image(0).astype(float)
    blocks = [picture[:240, :320].reshape(30, 8, 40, 8, 3).mean(axis=(1, 3)) for picture in (shown, original)]
    assert np.abs(blocks[0] - blocks[1]).mean() < 2
