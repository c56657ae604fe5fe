"""The optional helpers, loaded as they are fetched, and fetched as they are on the Hub: with small random networks."""

import ast
import http.server
import shutil
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from tests.click.conftest import picture
from tests.click.tiny_helpers import SIDE, write_clipseg, write_sam2
from xmem import Clicker, Words, checkpoints
from xmem.checkpoints.catalogue import CLICKERS, HELPERS, SAM2
from xmem.click import NAMES, pretrained
from xmem.click.held import Held
from xmem.click.words import mask_of_heat
from xmem.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def sam_folder(tmp_path_factory):
    return write_sam2(tmp_path_factory.mktemp("sam2") / "tiny")


@pytest.fixture(scope="session")
def clipseg_folder(tmp_path_factory):
    return write_clipseg(tmp_path_factory.mktemp("clipseg") / "tiny")


@pytest.fixture(scope="session")
def sam(sam_folder):
    return Clicker(sam_folder, "cpu", "float32")


@pytest.fixture(scope="session")
def words(clipseg_folder):
    return Words(clipseg_folder, "cpu", "float32")


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A folder of checkpoints without any."""
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path / "kept"))
    return tmp_path / "kept"


CALLS = (
    ([(40, 70, True)], None, False),
    ([(40, 70, True), (150, 70, False)], None, False),
    ([], (10, 20, 90, 130), False),
    ([(40, 70, True)], (10, 20, 90, 130), False),
    ([], None, True),
    ([(40, 70, True)], None, True),
)


@pytest.mark.parametrize(("clicks", "box", "has_previous"), CALLS)
def test_sam_answers_as_the_click_network_does(sam, clicks, box, has_previous):
    image, disc, _ = picture()
    mask = sam.image(image).mask(clicks, box, disc if has_previous else None, quick=True)
    assert mask.shape == image.shape[:2] and mask.dtype == bool


def test_places_for_sam_may_be_any_numbers(sam):
    image, box = picture()[0], (10, 20, 90, 130)
    plain = sam.image(image).mask([(40, 70, True)], box)
    of_numpy = sam.image(image).mask([(np.int64(40), np.float64(70), np.True_)], tuple(np.array(box)))
    assert np.array_equal(of_numpy, plain)


def test_sam_sees_an_image_once_and_each_click_goes_on_from_those_before(sam):
    asked = []
    held = sam.image(picture()[0])
    network = held._model
    handle = network.register_forward_pre_hook(lambda _, given, named: asked.append(named), with_kwargs=True)
    seen = network.vision_encoder.register_forward_pre_hook(lambda *_: asked.append("seen"))
    try:
        held.mask([(40, 70, True)])
        held.mask([(40, 70, True), (150, 60, False)])
    finally:
        handle.remove()
        seen.remove()
    assert "seen" not in asked and len(asked) == 2
    assert asked[0]["multimask_output"] and "input_masks" not in asked[0]
    assert not asked[1]["multimask_output"] and asked[1]["input_masks"].shape[-1] == SIDE // 4
    assert asked[1]["input_labels"].tolist() == [[[1, 0]]]
    scale_x, scale_y = SIDE / 200, SIDE / 140
    expected = [40.5 * scale_x - 0.5, 70.5 * scale_y - 0.5]
    assert asked[0]["input_points"][0, 0, 0].tolist() == pytest.approx(expected), "places are those of the image"


def test_a_mask_to_correct_reaches_sam_as_logits_that_are_certain(sam):
    image, disc, _ = picture()
    logits = sam.image(image)._as_logits(disc)[0, 0].numpy()
    assert logits.max() == pytest.approx(10) and logits.min() == pytest.approx(-10)
    assert abs((logits > 0).mean() - disc.mean()) < 0.02


@pytest.mark.parametrize("size", [(3, 200), (90, 3), (1, 1)])
def test_helpers_take_images_of_any_shape(sam, words, size):
    image = np.zeros((*size, 3), np.uint8)
    assert sam.image(image).mask([(0, 0, True)]).shape == size
    assert words.heat(image, "a car").shape == size


def test_words_give_a_heat_map_that_depends_on_them(words):
    image = picture()[0]
    car, disc = words.heat(image, " a red car "), words.heat(image, "disc")
    assert car.shape == image.shape[:2] and car.dtype == np.float32
    assert car.min() >= 0 and car.max() <= 1
    assert not np.array_equal(car, disc) and np.array_equal(car, words.heat(image, "a red car"))


@pytest.mark.parametrize(("said", "sentence"), [("  ", "No words are given"), ("car " * 30, "more words than")])
def test_words_that_cannot_be_read_are_refused(words, said, sentence):
    with pytest.raises(InputError, match=sentence):
        words.heat(picture()[0], said)


class Echo(Held):
    """Answers with the mask to correct; notes what it is asked."""

    def mask(self, clicks, box=None, previous=None, quick=False):
        self.asked = clicks, previous
        return previous

    def _decide(self, *_):
        raise AssertionError

    _logits = _decide


def test_the_hottest_place_is_the_mask_to_correct_and_is_clicked_inside():
    image, disc, square = picture()
    held = Echo(image)
    found = mask_of_heat(held, np.where(square, 0.9, np.where(disc, 0.35, 0.05)).astype(np.float32))
    (x, y, of), *more = held.asked[0]
    assert np.array_equal(found, square) and not more and of and square[int(y), int(x)]
    assert mask_of_heat(held, np.full(disc.shape, 0.2, np.float32)) is None


def test_words_for_nothing_that_is_there_are_answered_in_a_sentence(words, monkeypatch):
    monkeypatch.setattr(words, "heat", lambda image, said: np.zeros(image.shape[:2], np.float32), raising=False)
    with pytest.raises(InputError, match="Nothing was found for 'a car': use other words, or click"):
        words.mask(Echo(picture()[0]), " a car ")


def test_without_the_extra_it_is_said_how_to_get_it(monkeypatch, kept):
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    for make in (Words, partial(Clicker, "sam2.1-tiny")):
        with pytest.raises(InputError, match=r"needs the library transformers: .*\(pip install '\.\[helpers\]'\)"):
            make(device="cpu")
    assert not kept.exists(), "nothing is fetched"


def test_pickles_are_never_read(sam_folder, tmp_path):
    import torch

    folder = shutil.copytree(sam_folder, tmp_path / "pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be loaded from"):
        Clicker(folder, "cpu")


def test_weights_that_are_not_whole_are_refused_and_never_made_up(sam_folder, tmp_path):
    folder = shutil.copytree(sam_folder, tmp_path / "lacking")
    tensors = load_file(folder / "model.safetensors")
    del tensors["mask_decoder.iou_token.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 tensors, such as 'mask_decoder\.iou_token\.weight'"):
        Clicker(folder, "cpu")
    (folder / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(InputError, match="cannot be loaded from"):
        Clicker(folder, "cpu")


def test_a_network_for_something_else_is_refused(clipseg_folder, sam_folder, kept, tmp_path):
    wrong = ((Clicker, clipseg_folder, "is no sam2 .clipseg."), (Words, sam_folder, "is no clipseg .sam2_video."))
    for make, folder, sentence in (*wrong, (Clicker, tmp_path, "nothing in it says what it is")):
        with pytest.raises(InputError, match=sentence):
            make(folder, "cpu")
    with pytest.raises(InputError, match="clipseg takes no clicks"):
        Clicker("clipseg", "cpu")
    with pytest.raises(InputError, match=r"did you mean sam2\.1-tiny\?"):
        Clicker("sam2-tiny", "cpu")


def test_what_can_be_chosen_for_clicks_says_what_it_is():
    assert NAMES == ("xmem-click", "sam2.1-tiny", "sam2.1-small")
    for record in HELPERS.values():
        repository, revision = record.url.removeprefix("https://huggingface.co/").rstrip("/").split("/resolve/")
        assert len(revision) == 40 and record.source.endswith(repository) and "Apache-2.0" in record.licence
        assert record.files[-1] == "model.safetensors" and record.size_bytes > 100_000_000 and record.parameters
    assert {record.family for name, record in HELPERS.items() if name in NAMES} == {SAM2} and len(CLICKERS) == 1


# Fetched


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def hub(sam_folder, clipseg_folder, kept, monkeypatch):
    """The small networks, each where its name is fetched from."""
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory="/"))
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    for name, folder in (("sam2.1-tiny", sam_folder), ("clipseg", clipseg_folder)):
        address = f"http://127.0.0.1:{served.server_port}{folder}/"
        monkeypatch.setitem(HELPERS, name, replace(HELPERS[name], url=address))
    yield kept
    served.shutdown()
    thread.join()


def test_a_helper_is_fetched_whole_pinned_and_loaded_by_its_name_alone(hub, capfd):
    assert checkpoints.find("sam2.1-tiny") is None and not checkpoints.is_at_hand("sam2.1-tiny")
    clicker = Clicker("sam2.1-tiny", "cpu")
    assert clicker.image(picture()[0]).mask([(40, 70, True)]).any() is not None
    files = set(HELPERS["sam2.1-tiny"].files)
    assert {path.name for path in (hub / "sam2.1-tiny").iterdir()} == files | {f"{file}.sha256" for file in files}
    assert "fetching sam2.1-tiny" in capfd.readouterr().err
    steps = list(checkpoints.fetch("clipseg"))
    done = [step.done_bytes for step in steps]
    weights = (hub / "clipseg" / "model.safetensors").stat().st_size
    assert done == sorted(done) and steps[-1].total_bytes == done[-1] > weights
    Words(device="cpu")

    (hub / "clipseg" / "vocab.json").write_text("{}")
    with pytest.raises(InputError, match=r"'vocab\.json' is not the file that was fetched"):
        Words(device="cpu")
    checkpoints.accept("clipseg")
    Words(device="cpu")


def test_a_hub_that_cannot_be_reached_is_named_and_leaves_nothing(kept, monkeypatch):
    monkeypatch.setitem(HELPERS, "clipseg", replace(HELPERS["clipseg"], url="http://127.0.0.1:9/"))
    with pytest.raises(InputError, match=r"clipseg cannot be fetched, because 127\.0\.0\.1:9 cannot be reached"):
        Words(device="cpu")
    assert not (kept / "clipseg").exists()


def test_the_library_is_not_imported_before_it_is_needed():
    """It takes more than a second."""
    for path in (ROOT / "xmem").rglob("*.py"):
        top = ast.parse(path.read_text(encoding="utf-8")).body
        found = [alias.name for node in top if isinstance(node, ast.Import) for alias in node.names]
        found += [node.module or "" for node in top if isinstance(node, ast.ImportFrom)]
        assert not any(name.startswith("transformers") for name in found), path
