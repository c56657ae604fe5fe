"""The command line, run as its users run it: what it writes, what it says, and how it ends."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests import tiny_cutie
from tests.tiny_model import write_tiny_model
from xmem import cli
from xmem.device import choose_precision
from xmem.render.masks import write_index_mask

WIDTH, HEIGHT, FRAMES = 96, 64, 8
ROOT = Path(__file__).parents[2]


def frame(i: int) -> np.ndarray:
    """A bright square on a gradient, moving right."""
    image = np.repeat(np.linspace(0, 120, WIDTH, dtype=np.uint8)[None, :, None], HEIGHT, 0).repeat(3, 2)
    left = (10 + i) % (WIDTH - 20)
    image[20:40, left : left + 20] = (240, 200, 40)
    return image


def write_video(path: Path, frames: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for i in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame(i), format="rgb24")))
        container.mux(stream.encode())
    return path


def square_mask(i: int = 0) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[20:40, 10 + i : 30 + i] = 1
    return mask


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Path:
    """model.safetensors, clip.mp4, long.mp4, images/, and masks one.png, two.png, empty.png, wide.png, half.png."""
    folder = tmp_path_factory.mktemp("material")
    write_tiny_model(folder / "model.safetensors")
    write_video(folder / "clip.mp4", FRAMES)
    write_video(folder / "long.mp4", 300)
    (folder / "images").mkdir()
    for i in range(3):
        Image.fromarray(frame(i)).save(folder / "images" / f"shot_{i}.png")
    two = square_mask()
    two[45:60, 60:80] = 2
    masks = {"one": square_mask(), "two": two, "empty": 0 * two, "wide": square_mask()[:32], "half": two[::2, ::2]}
    for name, mask in masks.items():
        write_index_mask(folder / f"{name}.png", mask)
    return folder


@pytest.fixture
def xmem(capsys, monkeypatch, tmp_path):
    """Runs a command line in this process: (exit status, standard output, standard error)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    logger = logging.getLogger("xmem")
    before = (logger.handlers, logger.propagate, logger.level, signal.getsignal(signal.SIGTERM))
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path / "kept"))
    monkeypatch.delenv("XMEM_MODEL", raising=False)

    def run(*arguments) -> tuple[int, str, str]:
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    yield run
    torch.set_num_threads(threads)
    logger.handlers, logger.propagate = before[:2]
    logger.setLevel(before[2])
    signal.signal(signal.SIGTERM, before[3])


def segment(material: Path, output: Path, *more, source="clip.mp4", mask="one.png") -> list[str]:
    model = ["--model", material / "model.safetensors", "--device", "cpu", "--size", "own"]
    words = ["segment", material / source, "--mask", material / mask, "--output", output, *model, *more]
    return [str(word) for word in words]


def read_masks(output: Path) -> dict[str, np.ndarray]:
    return {path.name: np.array(Image.open(path)) for path in sorted((output / "masks").iterdir())}


def count_frames(video: Path) -> int:
    with av.open(str(video)) as container:
        return sum(1 for _ in container.decode(video=0))


def start(words: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "xmem", *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # frames this small gain nothing from more
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_real_clip_gives_an_overlay_and_a_mask_per_frame_from_a_shell(material, tmp_path):
    process = start(segment(material, tmp_path / "out", mask="two.png"))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "two.png: 2 objects on frame 0 (id 1, 2)" in out
    assert f"{tmp_path / 'out' / 'overlay.mp4'}\n" in out and f"{FRAMES} masks" in out
    assert "frames/s" in err and f"{FRAMES}/{FRAMES}" in err and "CPU" in err
    masks = read_masks(tmp_path / "out")
    assert list(masks) == [f"{i:05d}.png" for i in range(FRAMES)]
    assert all(mask.shape == (HEIGHT, WIDTH) and mask.max() <= 2 for mask in masks.values())
    assert count_frames(tmp_path / "out" / "overlay.mp4") == FRAMES


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_keeps_what_is_done_and_says_so(material, tmp_path, number, status):
    process = start(segment(material, tmp_path / "out", source="long.mp4"))
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "out").glob("masks/*.png"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status
    done = int(re.search(rf"stopped by {number.name} after (\d+) of 300 frames; what is done is kept", err)[1])
    assert 3 <= done < 300
    assert f"{done} masks" in out and "Traceback" not in err
    assert len(read_masks(tmp_path / "out")) == count_frames(tmp_path / "out" / "overlay.mp4") == done


def test_a_folder_of_images_gives_masks_named_after_them(xmem, material, tmp_path):
    status, out, _ = xmem(*segment(material, tmp_path, source="images"))
    assert status == 0 and "3 masks" in out
    assert list(read_masks(tmp_path)) == ["shot_0.png", "shot_1.png", "shot_2.png"]


def test_a_mask_may_be_given_for_a_later_frame_too(xmem, material, tmp_path):
    later = square_mask(5)
    write_index_mask(tmp_path / "later.png", later)
    status, out, _ = xmem(*segment(material, tmp_path / "out", "--mask", f"5:{tmp_path / 'later.png'}"))
    assert status == 0 and "1 object on frame 5" in out
    assert np.array_equal(read_masks(tmp_path / "out")["00005.png"], later)


def test_a_mask_of_another_size_is_resized_and_says_so(xmem, material, tmp_path):
    status, out, _ = xmem(*segment(material, tmp_path, mask="half.png"))
    assert status == 0
    assert "2 objects" in out and "resized from 48x32 to 96x64" in out


@pytest.mark.parametrize(
    "mask, reason", [("empty.png", "empty"), ("wide.png", "another shape"), ("none.png", "no mask file")]
)
def test_a_mask_that_cannot_be_used_ends_in_one_sentence_and_writes_nothing(xmem, material, tmp_path, mask, reason):
    status, _, err = xmem(*segment(material, tmp_path / "out", mask=mask))
    assert status == 1
    assert err.startswith("xmem: ") and reason in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_two_masks_for_one_frame_are_refused(xmem, material, tmp_path):
    status, _, err = xmem(*segment(material, tmp_path, "--mask", material / "two.png"))
    assert status == 1 and "Two masks are given for frame 0" in err


def test_a_mask_beyond_the_end_is_refused(xmem, material, tmp_path):
    status, _, err = xmem(*segment(material, tmp_path, "--mask", f"{FRAMES}:{material / 'two.png'}"))
    assert status == 1 and f"no frame {FRAMES}" in err and f"0 to {FRAMES - 1}" in err


@pytest.mark.parametrize("source", ["none.mp4", "model.safetensors", "one.png"])
def test_an_input_that_is_no_video_ends_in_one_sentence(xmem, material, tmp_path, source):
    status, _, err = xmem(*segment(material, tmp_path / "out", source=source))
    assert status == 1
    assert err.startswith("xmem: ") and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_results_of_an_earlier_run_are_not_mixed_in(xmem, material, tmp_path):
    assert xmem(*segment(material, tmp_path))[0] == 0
    status, _, err = xmem(*segment(material, tmp_path, source="images"))
    assert status == 1 and "--force" in err
    assert len(read_masks(tmp_path)) == FRAMES
    (tmp_path / "notes.txt").write_text("mine")
    assert xmem(*segment(material, tmp_path, "--force", source="images"))[0] == 0
    assert len(read_masks(tmp_path)) == 3
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_force_never_deletes_the_input(xmem, material, tmp_path):
    source = write_video(tmp_path / "overlay.mp4", 3)
    words = segment(material, tmp_path, "--force")
    words[1] = str(source)
    status, _, err = xmem(*words)
    assert status == 1 and "replace the input" in err
    assert count_frames(source) == 3


def test_settings_reach_the_engine(xmem, material, tmp_path, monkeypatch):
    seen = {}

    def recorded(*_args, **settings):
        seen.update(settings)
        yield from range(FRAMES)

    monkeypatch.setattr("xmem.cli.segment.segment_video", recorded)
    words = segment(material, tmp_path, "--size", "256", "--mem-every", "3", "--no-long-term", "--top-k", "20")
    assert xmem(*words)[0] == 0
    assert (seen["size"], seen["config"].mem_every, seen["config"].long_term, seen["config"].top_k) == (
        256,
        3,
        False,
        20,
    )
    assert seen["config"].prototypes == 128


@pytest.mark.parametrize("words, dtype", [((), None), (("--precision", "float32"), torch.float32)])
def test_the_network_computes_in_the_precision_asked_for(xmem, material, tmp_path, monkeypatch, words, dtype):
    seen = {}

    def recorded(*_args, model, **_settings):
        seen["dtype"] = model.dtype
        yield from range(FRAMES)

    monkeypatch.setattr("xmem.cli.segment.segment_video", recorded)
    assert xmem(*segment(material, tmp_path, *words))[0] == 0
    assert seen["dtype"] == (dtype or choose_precision("auto", torch.device("cpu")))


def test_a_precision_that_cannot_work_is_refused(xmem, material, tmp_path):
    status, _, err = xmem(*segment(material, tmp_path / "out", "--precision", "float16"))
    assert status == 1 and "float16" in err
    assert not (tmp_path / "out").exists()


def test_settings_that_cannot_work_are_refused(xmem, material, tmp_path):
    status, _, err = xmem(*segment(material, tmp_path, "--max-working-frames", "2"))
    assert status == 1 and "max_working_frames" in err


def test_another_family_takes_its_own_settings_and_refuses_those_it_lacks(xmem, material, tmp_path):
    save_file(tiny_cutie.tiny_state(), tmp_path / "cutie.safetensors")
    words = [
        *segment(material, tmp_path / "out", "--max-working-frames", "7"),
        "--model",
        tmp_path / "cutie.safetensors",
    ]
    assert xmem(*words)[0] == 0
    assert count_frames(tmp_path / "out" / "overlay.mp4") == FRAMES
    status, _, err = xmem(*words, "--force", "--no-sensory")
    assert status == 1 and "Cutie has no setting --sensory" in err
    assert count_frames(tmp_path / "out" / "overlay.mp4") == FRAMES


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["segment"],
        ["segment", "a.mp4", "--mask", "m.png", "--output", "o", "--size", "8"],
        ["segment", "a.mp4", "--mask", "m.png", "--output", "o", "--device", "tpu"],
        ["segment", "a.mp4", "--mask", "m.png", "--output", "o", "--precision", "int8"],
        ["paint"],
    ],
)
def test_wrong_usage_ends_with_status_2_and_the_usage(xmem, words):
    status, _, err = xmem(*words)
    assert status == 2 and err.startswith("usage: xmem")


def test_an_unknown_model_names_a_similar_one(xmem, material, tmp_path):
    status, _, err = xmem(*segment(material, tmp_path / "out"), "--model", "Xmem")
    assert status == 1 and "did you mean" in err
    assert not (tmp_path / "out").exists()


def write_sequences(root: Path) -> None:
    for name in ("bear", "camel"):
        (root / "frames" / name).mkdir(parents=True)
        (root / "masks" / name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(frame(i)).save(root / "frames" / name / f"{i:05d}.jpg")
            write_index_mask(root / "masks" / name / f"{i:05d}.png", square_mask(i))


def evaluate(material: Path, root: Path, *more) -> list:
    return ["evaluate", root, "--model", material / "model.safetensors", "--device", "cpu", "--size", "own", *more]


def test_evaluate_prints_a_line_per_sequence_and_an_overall_one(xmem, material, tmp_path):
    write_sequences(tmp_path)
    status, out, err = xmem(*evaluate(material, tmp_path))
    assert status == 0
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["sequence", "bear", "camel", "all", "peak"]
    assert re.fullmatch(r"bear +1 +4( +\d+\.\d){3} +\d+\.\d\d", lines[1])
    assert re.fullmatch(r"peak memory: \d+\.\d MB resident", lines[-1])
    assert "evaluating" in err and "8/8" in err


def test_evaluate_writes_json_and_nothing_else_for_programs(xmem, material, tmp_path):
    write_sequences(tmp_path)
    status, out, _ = xmem(*evaluate(material, tmp_path, "--json", "--sequences", "camel"))
    assert status == 0
    scores = json.loads(out)
    assert list(scores["sequences"]) == ["camel"]
    assert scores["overall"]["J&F"] == pytest.approx((scores["overall"]["J"] + scores["overall"]["F"]) / 2)
    assert scores["sequences"]["camel"]["scored_frames"] == 2
    assert scores["precision"] in ("float32", "bfloat16")


def test_evaluate_refuses_a_folder_of_another_layout(xmem, material, tmp_path):
    status, _, err = xmem(*evaluate(material, tmp_path))
    assert status == 1 and "'frames' and 'masks'" in err


def test_models_lists_every_checkpoint_and_what_is_at_hand(xmem, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "XMem-s2.pth").write_bytes(b"x" * 1000)
    write_tiny_model(tmp_path / "kept" / "mine.safetensors")
    status, out, _ = xmem("models")
    assert status == 0
    at_hand = {line.split()[0]: line.split()[1] for line in out.splitlines()}
    assert at_hand["XMem"] == "no" and at_hand["XMem-s2"] == at_hand["mine"] == "yes"
    assert {"xmem-lite", "XMem-s012", "XMem-no-sensory"} <= at_hand.keys()


@pytest.mark.parametrize("action", ["--fetch", "--accept"])
def test_models_refuses_a_name_that_is_not_registered(xmem, action):
    status, _, err = xmem("models", action, "XMme")
    assert status == 1 and "did you mean XMem" in err


def test_the_program_explains_itself(xmem):
    status, out, _ = xmem("--help")
    assert status == 0
    assert all(command in out for command in ("segment", "evaluate", "benchmark", "models", "train"))


def test_training_has_its_own_options(xmem):
    status, out, _ = xmem("train", "--help")
    assert status == 0
    assert "--resume" in out or "--steps" in out


def test_a_reader_that_leaves_early_causes_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-u", "-m", "xmem", "models"], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert process.returncode == 141
    assert process.stderr == ""
