"""A mask file means what its painter meant, whatever kind of image it is."""

import cv2
import numpy as np
import pytest
from PIL import Image

from xmem.errors import InputError
from xmem.render.masks import read_index_mask, read_mask, write_index_mask
from xmem.render.palette import DAVIS_PALETTE, OBJECT_COLORS, color_of
from xmem.render.plain_png import read_plain_png, write_compact_mask

WIDTH, HEIGHT = 160, 120


def _two_discs(scale: int = 1) -> np.ndarray:
    """uint8 [H, W]: object 1 on the left, object 2 on the right, apart."""
    index = np.zeros((HEIGHT * scale, WIDTH * scale), np.uint8)
    cv2.circle(index, (45 * scale, 60 * scale), 30 * scale, 1, -1)
    cv2.circle(index, (115 * scale, 50 * scale), 25 * scale, 2, -1)
    return index


def _touching() -> np.ndarray:
    """uint8 [H, W]: three objects side by side that share borders."""
    index = np.zeros((HEIGHT, WIDTH), np.uint8)
    index[30:90, 20:60], index[30:90, 60:100], index[30:90, 100:140] = 1, 2, 3
    return index


def _painted(index: np.ndarray, colours: dict[int, tuple[int, int, int]], background=(0, 0, 0)) -> np.ndarray:
    image = np.empty((*index.shape, 3), np.uint8)
    image[:] = background
    for number, colour in colours.items():
        image[index == number] = colour
    return image


def _soft(image: np.ndarray, times: int = 4) -> np.ndarray:
    """Drawn large and scaled down: antialiased edges."""
    return cv2.resize(image, (image.shape[1] // times, image.shape[0] // times), interpolation=cv2.INTER_AREA)


def _agreement(given: np.ndarray, expected: np.ndarray) -> float:
    return float((given == expected).mean())


def _read(source) -> tuple[np.ndarray, tuple[int, ...], str]:
    mask = read_mask(source, WIDTH, HEIGHT)
    assert mask.index.dtype == np.uint8 and mask.index.shape == (HEIGHT, WIDTH)
    assert set(np.unique(mask.index)) - {0} == set(mask.objects)
    return mask.index, mask.objects, mask.note


class TestIndexMasks:
    """Ids stay as they are."""

    @pytest.mark.parametrize("ids", [(1, 2), (3, 7), (1, 200)])
    def test_a_written_mask_reads_back_the_same(self, tmp_path, ids):
        index = np.array([0, *ids], np.uint8)[_two_discs()]
        path = tmp_path / "mask.png"
        write_index_mask(path, index)
        assert np.array_equal(read_plain_png(path), index)
        with Image.open(path) as image:
            assert image.mode == "P"
            assert np.array_equal(np.array(image.getpalette()).reshape(-1, 3), DAVIS_PALETTE)
        assert np.array_equal(_read(path)[0], index)

    @pytest.mark.parametrize("ids", [(), (1,), (2, 3), (1, 9, 15), (16, 255)], ids=str)
    @pytest.mark.parametrize("width", [1, 29, 64])
    def test_a_compact_mask_is_an_ordinary_picture(self, tmp_path, ids, width):
        """To Pillow and to OpenCV alike, in the colours of the palette."""
        index = np.random.default_rng(0).choice(np.array([0, *ids], np.uint8), (5, width))
        path = tmp_path / "mask.png"
        write_compact_mask(path, index)
        assert np.array_equal(read_plain_png(path), index) and np.array_equal(read_index_mask(path), index)
        with Image.open(path) as image:
            assert image.mode == "P" and np.array_equal(np.array(image.convert("RGB")), DAVIS_PALETTE[index])
        assert np.array_equal(cv2.imread(str(path))[..., ::-1], DAVIS_PALETTE[index])

    def test_void_is_left_out(self):
        image = Image.fromarray(np.where(_two_discs() == 2, 255, _two_discs()).astype(np.uint8)).convert("P")
        image.putpalette(DAVIS_PALETTE.tobytes())
        _, objects, note = _read(image)
        assert objects == (1,) and "void" in note

    def test_arrays_are_index_masks(self):
        index = np.array([0, 40, 90], np.int64)[_two_discs()]
        assert np.array_equal(_read(index)[0], index)
        assert _read(_two_discs() > 0)[1] == (1,)
        assert _read((_two_discs() > 0).astype(np.uint8) * 255)[1] == (1,)


class TestGreyMasks:
    """Small values are ids, large ones brightness."""

    @pytest.mark.parametrize("factor", [1, 5])
    def test_small_values_are_ids(self, factor):
        index, objects, _ = _read(Image.fromarray(_two_discs() * factor))
        assert objects == (factor, 2 * factor) and np.array_equal(index, _two_discs() * factor)

    @pytest.mark.parametrize("level", [255, 128, 60])
    def test_one_level_is_one_object(self, level):
        index, objects, _ = _read(Image.fromarray((_two_discs() > 0).astype(np.uint8) * np.uint8(level)))
        assert objects == (1,) and np.array_equal(index > 0, _two_discs() > 0)

    def test_a_one_bit_image(self):
        assert _read(Image.fromarray(_two_discs() > 0))[1] == (1,)

    @pytest.mark.parametrize("soften", ["antialiased", "blurred", "feathered", "jpeg"])
    def test_soft_edges_and_noise_make_no_objects(self, soften, tmp_path):
        hard = (_two_discs() > 0).astype(np.uint8) * 255
        if soften == "antialiased":
            source = Image.fromarray(_soft((_two_discs(4) > 0).astype(np.uint8) * 255))
        elif soften == "jpeg":
            Image.fromarray(hard).save(tmp_path / "mask.jpg", quality=60)
            source = tmp_path / "mask.jpg"
        else:
            source = Image.fromarray(cv2.GaussianBlur(hard, (0, 0), 1.5 if soften == "blurred" else 8))
        index, objects, _ = _read(source)
        assert objects == (1,)
        assert _agreement(index > 0, hard > 0) > (0.97 if soften == "feathered" else 0.985)

    @pytest.mark.parametrize("soft", [False, True])
    def test_several_flat_levels_are_objects_darker_first(self, soft):
        levels = np.array([0, 255, 100], np.uint8)
        image = _soft(levels[_two_discs(4)]) if soft else levels[_two_discs()]
        index, objects, _ = _read(Image.fromarray(image))
        assert objects == (1, 2)
        assert _agreement(index, np.array([0, 2, 1])[_two_discs()]) > (0.99 if soft else 0.9999)

    def test_sixteen_bits(self):
        discs = _two_discs()
        assert _read(Image.fromarray((discs > 0).astype(np.uint16) * 65535))[1] == (1,)
        assert _read(Image.fromarray(discs.astype(np.uint16)))[1] == (1, 2)
        index, objects, note = _read(Image.fromarray(discs.astype(np.uint16) * 1000))
        assert objects == (1, 2) and np.array_equal(index, discs) and "renumbered" in note

    def test_a_palette_of_greys_is_brightness(self):
        image = Image.fromarray((_two_discs() > 0).astype(np.uint8) * 255).convert("P")
        assert _read(image)[1] == (1,)


class TestColourMasks:
    """Flat colours are objects."""

    @pytest.mark.parametrize("kind", ["hard", "soft", "jpeg"])
    @pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255)])
    def test_colours_on_black_or_white(self, kind, background, tmp_path):
        colours = {1: (230, 40, 50), 2: (60, 200, 90)}
        if kind == "soft":
            image = Image.fromarray(_soft(_painted(_two_discs(4), colours, background)))
        else:
            image = Image.fromarray(_painted(_two_discs(), colours, background))
        path = tmp_path / ("mask.jpg" if kind == "jpeg" else "mask.png")
        image.save(path, quality=75)
        index, objects, _ = _read(path)
        # Reading order: the top of the right disc (y 25) comes before that of the left (y 30).
        assert objects == (1, 2)
        assert _agreement(index, np.array([0, 2, 1])[_two_discs()]) > (0.985 if kind != "hard" else 0.9999)

    @pytest.mark.parametrize("kind", ["hard", "soft", "jpeg"])
    def test_touching_objects_share_a_border_without_a_third_between(self, kind, tmp_path):
        colours = {i: color_of(i) for i in (1, 2, 3)}
        expected = _touching()
        image = _painted(expected, colours)
        if kind == "soft":
            image = cv2.GaussianBlur(image, (0, 0), 0.8)
        path = tmp_path / ("mask.jpg" if kind == "jpeg" else "mask.png")
        Image.fromarray(image).save(path, quality=80)
        index, objects, _ = _read(path)
        assert objects == (1, 2, 3)
        assert _agreement(index, expected) > (0.97 if kind != "hard" else 0.9999)

    @pytest.mark.parametrize("ids", [(1, 2), (2, 1), (8, 3), (5, 6)])
    @pytest.mark.parametrize("table", ["brush", "davis"])
    def test_colours_of_the_brush_and_of_davis_keep_their_ids(self, table, ids):
        known = color_of if table == "brush" else (lambda number: tuple(int(v) for v in DAVIS_PALETTE[number]))
        index, objects, _ = _read(_painted(_two_discs(), {1: known(ids[0]), 2: known(ids[1])}))
        assert objects == tuple(sorted(ids))
        assert np.array_equal(index, np.array([0, *ids])[_two_discs()])

    def test_pure_colours_have_the_same_ids_in_every_mask(self):
        both = _read(_painted(_two_discs(), {1: (0, 255, 0), 2: (255, 0, 0)}))[0]
        alone = _read(_painted(_two_discs(), {1: (0, 255, 0)}))[0]
        assert both[60, 45] == alone[60, 45] == 2 and both[50, 115] == 1

    @pytest.mark.parametrize("mode", ["RGB", "RGBA"])
    def test_black_and_white_is_one_object(self, mode):
        image = _painted(_two_discs(), {1: (255, 255, 255), 2: (255, 255, 255)})
        index, objects, _ = _read(Image.fromarray(image).convert(mode))
        assert objects == (1,) and np.array_equal(index > 0, _two_discs() > 0)

    def test_a_thin_stroke_of_its_own_colour_counts(self):
        image = _painted(_two_discs(), {1: color_of(1), 2: color_of(1)})
        image[5:7, 10:150] = color_of(4)
        index, objects, _ = _read(image)
        assert objects == (1, 4) and (index == 4).sum() == 280

    def test_a_photo_is_refused(self):
        noise = np.random.default_rng(1).integers(0, 255, (30, 40, 3), np.uint8)
        photo = cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        with pytest.raises(InputError, match="looks like a picture"):
            _read(photo)


class TestTransparency:
    """Transparent is background."""

    @staticmethod
    def _rgba(rgb: np.ndarray, alpha: np.ndarray) -> Image.Image:
        return Image.fromarray(np.dstack([rgb, alpha]))

    @pytest.mark.parametrize("soft", [False, True])
    def test_paint_keeps_its_colours(self, soft):
        colours = {1: color_of(3), 2: color_of(1)}
        scale = 4 if soft else 1
        rgb = _painted(_two_discs(scale), colours)
        alpha = (_two_discs(scale) > 0).astype(np.uint8) * 255
        rgba = np.dstack([rgb, alpha])
        if soft:
            rgba = _soft(rgba)
        index, objects, _ = _read(Image.fromarray(rgba))
        assert objects == (1, 3)
        assert _agreement(index, np.array([0, 3, 1])[_two_discs()]) > (0.985 if soft else 0.9999)

    def test_black_paint_is_an_object(self):
        _, objects, _ = _read(self._rgba(np.zeros((HEIGHT, WIDTH, 3), np.uint8), (_two_discs() == 1) * np.uint8(255)))
        assert objects == (1,)

    def test_a_cut_out_photo_is_one_object(self):
        noise = np.random.default_rng(1).integers(0, 255, (30, 40, 3), np.uint8)
        photo = cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        index, objects, _ = _read(self._rgba(photo, (_two_discs() > 0) * np.uint8(255)))
        assert objects == (1,) and np.array_equal(index > 0, _two_discs() > 0)

    def test_a_smoothly_shaded_cut_out_is_one_object(self):
        ramp = np.linspace(40, 250, WIDTH).astype(np.uint8)
        shade = np.dstack([np.tile(ramp, (HEIGHT, 1))] * 3)
        assert _read(self._rgba(shade, (_two_discs() > 0) * np.uint8(255)))[1] == (1,)

    def test_fully_transparent_is_empty(self):
        with pytest.raises(InputError, match="empty"):
            _read(self._rgba(np.full((HEIGHT, WIDTH, 3), 200, np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)))


class TestSizes:
    """Another size of the same shape fits; another shape does not."""

    def test_it_is_resized_nearest_with_a_note(self):
        mask = read_mask(_two_discs(), WIDTH * 2, HEIGHT * 2)
        assert mask.note == "resized from 160x120 to 320x240"
        assert np.array_equal(mask.index, np.kron(_two_discs(), np.ones((2, 2), np.uint8)))

    def test_rounding_of_a_side_is_the_same_shape(self):
        assert read_mask(np.ones((60, 107), np.uint8), 1920, 1080).objects == (1,)

    @pytest.mark.parametrize("shape", [(WIDTH, HEIGHT), (HEIGHT, WIDTH + 20)])
    def test_another_shape_is_refused(self, shape):
        with pytest.raises(InputError, match="another shape"):
            _read(np.ones(shape, np.uint8))


class TestRefusals:
    """One sentence for what is no mask."""

    @pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
    def test_empty(self, mode):
        with pytest.raises(InputError, match="empty"):
            _read(Image.new(mode, (WIDTH, HEIGHT)))

    def test_unreadable_and_missing(self, tmp_path):
        (tmp_path / "mask.png").write_text("no image")
        with pytest.raises(InputError, match="not a readable image"):
            _read(tmp_path / "mask.png")
        with pytest.raises(InputError, match="no mask file"):
            _read(tmp_path / "missing.png")

    def test_too_many_objects(self):
        many = Image.fromarray((np.arange(HEIGHT * WIDTH) % 200).reshape(HEIGHT, WIDTH).astype(np.uint8)).convert("P")
        many.putpalette(DAVIS_PALETTE.tobytes())
        with pytest.raises(InputError, match="199 objects"):
            _read(many)


def test_object_colours_are_distinct_and_start_with_red():
    assert OBJECT_COLORS[0][0] == "red" and len(OBJECT_COLORS) == len({code for _, code in OBJECT_COLORS}) == 8
    assert color_of(9) == color_of(1)
