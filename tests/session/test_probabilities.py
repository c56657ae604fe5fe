"""Probabilities as files: what was written is read, also what programs of before wrote, and nothing else."""

import io

import cv2
import numpy as np
import pytest
import torch

from tests.hostile import MEGABYTE, memory_rise
from tests.session.scene import COUNT, SETTINGS, square
from xmem import InputError, Session
from xmem.session import probabilities
from xmem.session.probabilities import (
    as_floats,
    found,
    from_sixteen_bits,
    packed,
    path_of,
    read,
    shape_of,
    sixteen_bits,
)

VALUES = np.random.default_rng(0).integers(0, 1 << 16, (3, 5, 7), np.uint16)


def zstd(data: bytes) -> bytes:
    return probabilities.zstd.compress(data, 1)


def npy(array: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def test_what_was_written_is_read_to_the_bit(tmp_path):
    path = path_of(tmp_path, 12)
    path.write_bytes(packed(VALUES))
    assert path.name == "00012.npy.zst" and found(tmp_path, 12) == path and found(tmp_path, 13) is None
    assert np.array_equal(read(path, 3), VALUES) and shape_of(path, 3) == (5, 7)


def test_other_programs_open_the_file(tmp_path):
    planes = np.load(io.BytesIO(probabilities.zstd.decompress(packed(VALUES))), allow_pickle=False)
    assert np.array_equal(planes[0] + 256 * planes[1].astype(int), VALUES)


def test_what_programs_of_before_wrote_is_read(tmp_path):
    path = tmp_path / "00003.png"
    path.write_bytes(cv2.imencode(".png", VALUES.reshape(-1, 7))[1].tobytes())
    assert found(tmp_path, 3) == path and np.array_equal(read(path, 3), VALUES) and shape_of(path, 3) == (5, 7)


def test_numbers_of_16_bits_are_within_half_a_step_wherever_they_are_made():
    prob = torch.tensor([0.0, 1e-6, 0.3, 0.5, 0.999999, 1.0, *torch.rand(100).tolist()])
    made = sixteen_bits(prob)
    back = as_floats(made.numpy())
    assert np.abs(back - prob.numpy()).max() <= 0.5001 / 65535 and back[5] == 1 and back[0] == 0
    assert np.array_equal(from_sixteen_bits(made).numpy(), back)


PLANES = np.zeros((2, 3, 5, 7), np.uint8)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no file of ours",
        packed(VALUES)[:-5],
        packed(VALUES)[:20],
        zstd(b"no array"),
        zstd(npy(PLANES)[:-1]),
        zstd(npy(PLANES) + b"more"),
        zstd(npy(PLANES.astype(np.uint16))),
        zstd(npy(PLANES[:, :2])),
        zstd(npy(PLANES[0])),
        zstd(npy(np.asfortranarray(PLANES))),
        zstd(npy(np.array([{}, {}]), allow_pickle=True)),
        zstd(npy(PLANES).replace(b"(2, 3, 5, 7)", b"(2, 3, -5, 7)")),
        zstd(npy(PLANES).replace(b"(2, 3, 5, 7)", b"(2, 3, 5, 1e9)")),
    ],
)
def test_what_is_damaged_is_refused_in_a_sentence(tmp_path, data):
    path = path_of(tmp_path, 1)
    path.write_bytes(data)
    with pytest.raises(InputError):
        read(path, 3)


def test_what_claims_or_holds_gigabytes_takes_no_room(tmp_path):
    claims = npy(PLANES).replace(b"(2, 3, 5, 7), ", b"(2, 3, 9999999, 9)")[:200]
    cases = {"claims": zstd(claims), "holds": zstd(npy(PLANES) + bytes(300 * MEGABYTE))}

    def attempt() -> None:
        for name, data in cases.items():
            (tmp_path / f"{name}.npy.zst").write_bytes(data)
            with pytest.raises(InputError):
                read(tmp_path / f"{name}.npy.zst", 3)

    assert memory_rise(attempt) < 30 * MEGABYTE


def test_a_bundle_of_before_opens_and_its_run_goes_on(session, network, tmp_path):
    """With probabilities as PNGs; a correction blends new ones with them, in spans of their own."""
    session.set_key_frame(0, square(4))
    list(session.propagate(SETTINGS, network))
    mattes = [session.matte(frame, 1) for frame in range(COUNT)]
    for path in (session.folder / "spans").rglob("*.npy.zst"):
        stacked = read(path, 1)
        path.with_name(path.name[:5] + ".png").write_bytes(cv2.imencode(".png", stacked[0])[1].tobytes())
        path.unlink()
    again = Session.open_bundle(session.save_bundle(tmp_path / "bundle.zip"), tmp_path / "again")
    assert all(np.array_equal(again.matte(frame, 1), mattes[frame]) for frame in range(COUNT))
    again.set_key_frame(12, square(28))
    list(again.propagate(SETTINGS, network))
    assert not again.pending(SETTINGS)


def test_a_stopped_run_of_before_goes_on_where_it_was(session, network):
    """Its forward pass left PNGs, which the backward pass blends and puts aside."""
    session.set_key_frame(0, square(4))
    session.set_key_frame(12, square(28))
    steps = session.propagate(SETTINGS, network)
    for _ in range(15):
        next(steps)
    steps.close()
    for path in (session.folder / "spans").rglob("*.npy.zst"):
        path.with_name(path.name[:5] + ".png").write_bytes(cv2.imencode(".png", read(path, 1)[0])[1].tobytes())
        path.unlink()
    session = Session.open(session.folder)
    assert session.suspended(SETTINGS)
    list(session.propagate(SETTINGS, network))
    assert not session.pending(SETTINGS) and all(session.has_result(frame) for frame in range(COUNT))
