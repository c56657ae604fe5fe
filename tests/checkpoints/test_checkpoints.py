"""Checkpoints: found, fetched over a bad network, verified, pinned by their hash, and loaded without running code."""

import contextlib
import errno
import hashlib
import http.server
import os
import re
import shutil
import threading
import time
from dataclasses import dataclass, field, replace

import pytest
import torch
from safetensors.torch import save_file

from tests.tiny_model import tiny_state, write_tiny_model
from xmem import checkpoints, device
from xmem.checkpoints import Checkpoint, download, fetch, find, load_model, read_state
from xmem.errors import InputError
from xmem.families import FAMILIES

NAME = "tiny"


@dataclass
class Site:
    """What the local server serves, and how badly."""

    content: bytes
    etag: str | None = '"one"'
    ranges: bool = True
    content_type: str = "application/octet-stream"
    status: int = 200
    stop_after: int | None = None  # bytes of a body after which the connection closes
    pause_seconds: float = 0.0
    requests: list = field(default_factory=list)  # (Range header, bytes sent)
    url: str = ""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        site: Site = self.server.site
        if site.status != 200:
            site.requests.append((None, 0))
            return self.send_error(site.status)
        start, wanted = 0, self.headers.get("Range")
        if wanted and site.ranges and self.headers.get("If-Range") == site.etag:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
        total = len(site.content)
        if start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.send_header("Content-Length", "0")
            site.requests.append((wanted, 0))
            return self.end_headers()
        body = site.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if site.etag:
            self.send_header("ETag", site.etag)
        self.send_header("Content-Type", site.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        sent = body[: site.stop_after]
        site.requests.append((wanted, len(sent)))
        for i in range(0, len(sent), 1 << 18):
            with contextlib.suppress(ConnectionError):  # a client may leave early
                self.wfile.write(sent[i : i + (1 << 18)])
            time.sleep(site.pause_seconds)
        self.close_connection = True
        return None

    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def content(tmp_path_factory) -> bytes:
    """A whole, good checkpoint as torch.save writes it."""
    path = tmp_path_factory.mktemp("content") / "tiny.pth"
    torch.save(tiny_state(), path)
    return path.read_bytes()


@pytest.fixture
def site(content, tmp_path, monkeypatch):
    """A server of the checkpoint "tiny", registered like a released one, and an empty checkpoint folder."""
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path / "kept"))
    monkeypatch.setattr(download, "POLL_SECONDS", 0.02)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.site = Site(content, url=f"http://127.0.0.1:{server.server_port}/tiny.pth")
        record = Checkpoint(NAME, "tiny.pth", server.site.url, None, None, "lite", "MIT", "", "", "a test's own")
        monkeypatch.setitem(checkpoints.REGISTRY, NAME, record)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.site
        server.shutdown()
        thread.join()


def kept_names() -> set[str]:
    return {path.name for path in checkpoints.folder().iterdir()}


def refusal(name: str = NAME) -> str:
    with pytest.raises(InputError) as error:
        list(fetch(name))
    return str(error.value)


def test_fetch_brings_the_file_with_rising_progress_and_leaves_only_it_and_its_hash(site, content):
    progress = list(fetch(NAME))
    assert find(NAME).read_bytes() == content
    assert progress[0].total_bytes == progress[-1].done_bytes == len(content)
    assert [p.done_bytes for p in progress] == sorted(p.done_bytes for p in progress)
    assert kept_names() == {"tiny.pth", "tiny.pth.sha256"}


def test_what_is_at_hand_is_not_fetched_again(site):
    list(fetch(NAME))
    list(fetch(NAME))
    assert len(site.requests) == 1


def test_a_download_that_breaks_says_so_and_is_resumed_where_it_stopped(site, content):
    site.stop_after = 1_500_000
    assert "stopped early" in (message := refusal()) and "goes on from there" in message
    assert find(NAME) is None
    site.stop_after = None
    list(fetch(NAME))
    assert find(NAME).read_bytes() == content
    assert site.requests[1] == ("bytes=1499999-", len(content) - 1_499_999)


def test_closing_the_fetch_keeps_what_arrived_for_the_next_one(site, content):
    progress = fetch(NAME)
    while next(progress).done_bytes < 1_000_000:
        pass
    progress.close()
    assert find(NAME) is None
    list(fetch(NAME))
    assert find(NAME).read_bytes() == content
    assert site.requests[1][0] is not None and site.requests[1][1] < len(content)


def test_a_server_that_cannot_resume_sends_the_whole_file(site, content):
    site.stop_after = 1_500_000
    refusal()
    site.stop_after, site.ranges = None, False
    list(fetch(NAME))
    assert find(NAME).read_bytes() == content


def test_a_file_that_changed_on_the_server_is_not_joined_to_the_old_beginning(site, tmp_path):
    site.stop_after = 1_500_000
    refusal()
    torch.save(tiny_state(seed=1), tmp_path / "other.pth")
    site.content, site.etag, site.stop_after = (tmp_path / "other.pth").read_bytes(), '"two"', None
    list(fetch(NAME))
    assert find(NAME).read_bytes() == site.content


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_an_exact_word_that_the_file_is_the_same_the_download_starts_over(site, content, etag):
    site.etag, site.stop_after = etag, 1_500_000
    refusal()
    site.stop_after = None
    list(fetch(NAME))
    assert site.requests[1] == (None, len(content))
    assert find(NAME).read_bytes() == content


def begin_part(site: Site, data: bytes) -> None:
    """A part file as an earlier process left it."""
    checkpoints.folder().mkdir()
    (checkpoints.folder() / "tiny.pth.part").write_bytes(data)
    (checkpoints.folder() / "tiny.pth.part.validator").write_text(f"{site.url}\n{site.etag}\n")


def test_a_part_that_was_whole_already_costs_one_byte(site, content):
    begin_part(site, content)
    list(fetch(NAME))
    assert site.requests == [(f"bytes={len(content) - 1}-", 1)]
    assert find(NAME).read_bytes() == content


def test_a_part_longer_than_the_file_starts_over(site, content):
    begin_part(site, content + b"x" * 100)
    list(fetch(NAME))
    assert [sent for _, sent in site.requests] == [0, len(content)]
    assert find(NAME).read_bytes() == content


def test_an_address_without_the_file_says_404(site):
    site.status = 404
    assert "404" in (message := refusal()) and "not at that address" in message
    assert kept_names() == set()


def test_no_network_says_that_the_host_cannot_be_reached(site):
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9 cannot be reached .* check the network"):
        list(fetch(NAME, url="http://127.0.0.1:9/tiny.pth"))


def test_an_address_that_reads_local_files_is_refused(site, tmp_path):
    with pytest.raises(InputError, match="http"):
        list(fetch(NAME, url=(tmp_path / "x").as_uri()))


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_login_page_instead_of_the_file_is_called_a_web_page(site, content_type):
    site.content, site.content_type = b"\n<!DOCTYPE html><html><body>Log in</body></html>", content_type
    assert re.search("HTML page|web page", refusal())
    assert kept_names() == set()


def test_a_file_that_is_truncated_on_the_server_is_thrown_away(site, content):
    site.content = content[: len(content) // 2]
    assert "truncated" in refusal()
    assert kept_names() == set()


def test_a_file_of_another_network_is_thrown_away(site, tmp_path):
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "linear.pth")
    site.content = (tmp_path / "linear.pth").read_bytes()
    assert "none of the networks that are known here" in refusal()
    assert kept_names() == set()


def test_a_network_of_another_kind_than_the_name_says_is_refused(site, monkeypatch):
    record = replace(checkpoints.REGISTRY[NAME], variant="resnet")
    monkeypatch.setitem(checkpoints.REGISTRY, NAME, record)
    assert "holds another network, which is not" in refusal()
    monkeypatch.setitem(checkpoints.REGISTRY, NAME, replace(record, family="stcn"))
    assert f"holds a network of XMem, which is not {NAME}" in refusal()


def test_a_file_with_another_sum_than_its_authors_state_is_thrown_away(site, content, monkeypatch):
    record = replace(checkpoints.REGISTRY[NAME], md5=hashlib.md5(content).hexdigest())
    monkeypatch.setitem(checkpoints.REGISTRY, NAME, replace(record, md5="0" * 32))
    assert "another MD5 sum" in refusal()
    assert kept_names() == set()
    monkeypatch.setitem(checkpoints.REGISTRY, NAME, record)
    list(fetch(NAME))
    assert "tiny.pth" in kept_names()


def test_weights_that_are_not_finite_are_thrown_away(site, tmp_path):
    state = tiny_state()
    state["decoder.pred.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    site.content = (tmp_path / "nan.pth").read_bytes()
    assert "are no numbers" in refusal()
    assert kept_names() == set()


def test_a_disk_without_room_is_noticed_before_the_download(site, monkeypatch):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert "make room" in refusal()


def test_a_disk_that_fills_up_meanwhile_is_reported_as_full(tmp_path):
    class FullDisk:
        name = str(tmp_path / "tiny.pth.part")

        def write(self, _):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(InputError, match="disk is full"):
        download._write(FullDisk(), b"x", NAME)


def test_a_checkpoint_folder_that_cannot_be_written_is_named(site, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path / "file"))
    assert "cannot be kept in" in refusal()


def test_two_fetches_at_once_download_once_and_both_end_with_the_file(site, content):
    site.pause_seconds = 0.02
    ends = {}

    def run(which):
        *_, ends[which] = fetch(NAME)

    threads = [threading.Thread(target=run, args=(which,)) for which in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [p.done_bytes for p in ends.values()] == [len(content)] * 2
    assert find(NAME).read_bytes() == content
    assert len(site.requests) == 1
    assert kept_names() == {"tiny.pth", "tiny.pth.sha256"}


def test_load_model_fetches_what_is_not_at_hand_with_a_progress_bar(site, capfd):
    model = load_model(NAME, device="cpu")
    assert not model.training
    assert find(NAME) is not None
    assert "fetching tiny" in capfd.readouterr().err


def test_a_fetched_file_that_changes_is_refused_until_accepted(site, tmp_path):
    load_model(NAME, device="cpu")
    torch.save(tiny_state(seed=1), find(NAME))
    with pytest.raises(InputError, match=r"not the file that was fetched .* --accept tiny"):
        load_model(NAME, device="cpu")
    checkpoints.accept(NAME)
    load_model(NAME, device="cpu")


def test_a_file_put_there_by_hand_is_found_and_pinned_at_its_first_use(site, content):
    checkpoints.folder().mkdir()
    (checkpoints.folder() / "tiny.pth").write_bytes(content)
    load_model(NAME, device="cpu")
    assert site.requests == []
    torch.save(tiny_state(seed=1), find(NAME))
    with pytest.raises(InputError, match="--accept"):
        load_model(NAME, device="cpu")


def test_a_later_fetch_of_another_file_from_the_same_address_is_refused(site, tmp_path):
    list(fetch(NAME))
    find(NAME).unlink()
    torch.save(tiny_state(seed=1), tmp_path / "other.pth")
    site.content = (tmp_path / "other.pth").read_bytes()
    assert "another file than it did at first" in refusal()
    assert find(NAME) is None
    checkpoints.accept(NAME)
    list(fetch(NAME))


def test_own_files_in_the_folder_are_found_by_name_and_may_change(tmp_path, monkeypatch):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))
    write_tiny_model(tmp_path / "mine.safetensors")
    for seed in (0, 1):
        save_file(tiny_state(seed), tmp_path / "mine.safetensors")
        expected = tiny_state(seed)["decoder.pred.weight"]
        assert torch.equal(load_model("mine", device="cpu").decoder.pred.weight, expected)
    assert find("mine.safetensors") == find("mine") == tmp_path / "mine.safetensors"


def test_the_embedded_model_is_found_whatever_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints.store, "EMBEDDED_CHECKPOINTS", tmp_path / "project")
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path / "elsewhere"))
    assert find("xmem-lite") is None
    (tmp_path / "project").mkdir()
    path = write_tiny_model(tmp_path / "project" / "xmem-lite.safetensors")
    assert find("xmem-lite") == path


def test_load_model_takes_a_path_and_a_mapping_of_arrays(tmp_path):
    state = tiny_state()
    path = write_tiny_model(tmp_path / "any-name.bin")
    arrays = {name: value.numpy() for name, value in state.items()}
    for source in (path, str(path), arrays):
        assert torch.equal(load_model(source, device="cpu").decoder.pred.weight, state["decoder.pred.weight"])


@pytest.mark.parametrize("record", checkpoints.REGISTRY.values(), ids=lambda record: record.name)
def test_every_registered_checkpoint_says_what_it_is(record):
    assert record.family in FAMILIES
    assert record.variant in {"xmem": ("lite", "resnet"), "cutie": ("resnet50",)}.get(record.family, ("",))
    assert record.licence and record.source and record.description
    assert all(0 < figure < 100 for figure in record.figures.values())
    assert record.url is None or (record.url.startswith("https://") and record.paper.startswith("https://"))


@pytest.mark.parametrize("name, hint", [("Xmem", "did you mean"), ("other", "choose one of"), ("a/b", "path")])
def test_an_unknown_name_says_what_there_is(name, hint):
    with pytest.raises(InputError, match=hint):
        load_model(name, device="cpu")


def test_a_name_cannot_leave_the_checkpoint_folder():
    with pytest.raises(InputError, match="without folders"):
        find("../secret")


class Payload:
    """Unpickled, it would make a folder."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return os.mkdir, (self.trace,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_never_run(tmp_path, zipped):
    trace = tmp_path / "was-run"
    torch.save({"weight": Payload(trace)}, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match="never loaded"):
        read_state(tmp_path / "evil.pth")
    assert not trace.exists()


def test_a_training_state_instead_of_plain_weights_says_what_to_save(tmp_path):
    torch.save({"step": 3, "network": tiny_state()}, tmp_path / "run.pth")
    with pytest.raises(InputError, match="state dict"):
        read_state(tmp_path / "run.pth")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_what_becomes_of_a_file_later_does_not_change_what_was_read(tmp_path, content, suffix):
    """Where tensors are the file itself, mapped into memory, cutting it ends the whole program."""
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(content if suffix == "pth" else write_tiny_model(path).read_bytes())
    state, whole = read_state(path), tiny_state()
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert all(torch.equal(value, whole[name]) for name, value in state.items())


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_truncated_file_is_called_truncated(tmp_path, content, suffix):
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(content if suffix == "pth" else write_tiny_model(path).read_bytes())
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(InputError, match="truncated"):
        load_model(path, device="cpu")


@pytest.mark.parametrize("data", [b"", b"just text, no weights", b"\x89PNG\r\n"])
def test_a_file_that_is_no_checkpoint_at_all_is_refused(tmp_path, data):
    (tmp_path / "x.pth").write_bytes(data)
    with pytest.raises(InputError, match="not a checkpoint"):
        read_state(tmp_path / "x.pth")


def test_an_archive_of_something_else_is_not_taken_for_weights(tmp_path):
    shutil.make_archive(str(tmp_path / "masks"), "zip", os.path.dirname(__file__), os.path.basename(__file__))
    with pytest.raises(InputError, match="not a checkpoint"):
        read_state(tmp_path / "masks.zip")


def test_half_precision_on_disk_loads_as_float32(tmp_path):
    halves = {name: v.half() if v.is_floating_point() else v for name, v in tiny_state().items()}
    save_file(halves, tmp_path / "h.safetensors")
    assert load_model(tmp_path / "h.safetensors", device="cpu").decoder.pred.weight.dtype == torch.float32


def test_weights_are_found_among_what_a_training_saves_with_them(tmp_path):
    """Beside an optimizer's state, and with the prefix of several GPUs; the same in a file and as a mapping."""
    prefixed = {f"module.{name}": value for name, value in tiny_state().items()}
    for key in ("state_dict", "model"):
        content = {"step": 3, "optimizer": {"state": {0: torch.zeros(2)}, "lr": [0.1]}, key: prefixed}
        torch.save(content, tmp_path / "step_3.pth")
        for source in (tmp_path / "step_3.pth", content):
            assert torch.equal(load_model(source, "cpu").decoder.pred.weight, tiny_state()["decoder.pred.weight"])


def test_the_registry_tells_the_released_networks_true_size():
    from xmem.networks.aot import AOT
    from xmem.networks.stcn import STCN
    from xmem.networks.stm import STM
    from xmem.networks.xmem import XMem, xmem_sizes

    for name, network in (("STCN", STCN), ("STCN-s03", STCN), ("STM", STM), ("R50-AOTL", AOT)):
        with torch.device("meta"):
            parameters = sum(p.numel() for p in network().parameters())
        assert checkpoints.REGISTRY[name].parameters == parameters
    for name, sensory in (("XMem", 64), ("XMem-no-sensory", 0)):
        with torch.device("meta"):
            parameters = sum(p.numel() for p in XMem(xmem_sizes(sensory)).parameters())
        assert checkpoints.REGISTRY[name].parameters == parameters


def test_the_environment_chooses_the_default_model(monkeypatch):
    monkeypatch.delenv("XMEM_MODEL", raising=False)
    assert checkpoints.default_model() == "xmem-lite"
    monkeypatch.setenv("XMEM_MODEL", "XMem")
    assert checkpoints.default_model() == "XMem"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there_is_refused_not_replaced():
    with pytest.raises(InputError, match="no usable 'cuda'"):
        device.select_device("cuda")


def test_an_unknown_device_is_refused():
    with pytest.raises(InputError, match="not a device"):
        device.select_device("gpu")


@pytest.mark.parametrize("quota, cores", [("50000 100000", 1), ("max 100000", None), ("99900000 100000", None)])
def test_a_containers_cpu_quota_limits_the_threads(tmp_path, monkeypatch, quota, cores):
    monkeypatch.setattr(device, "CPU_QUOTA", tmp_path / "cpu.max")
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert device.allowed_cores() == (cores or len(os.sched_getaffinity(0)))


def test_where_a_checkpoint_cannot_be_had_the_embedded_one_takes_its_place_and_that_is_said(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))
    write_tiny_model(tmp_path / "xmem-lite.safetensors")
    (tmp_path / "XMem.pth").write_bytes(b"<html>")
    loaded = checkpoints.load_or_embedded("XMem", "cpu", "float32")
    assert loaded.name == "xmem-lite" and "goes on with xmem-lite" in loaded.note and "XMem.pth" in loaded.note
    assert "xmem-lite takes its place" in caplog.text
    assert checkpoints.load_or_embedded("xmem-lite", "cpu", "float32").note == ""


def test_the_embedded_checkpoint_takes_no_place_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))
    (tmp_path / "xmem-lite.safetensors").write_bytes(b"<html>")
    with pytest.raises(InputError):
        checkpoints.load_or_embedded("xmem-lite", "cpu", "float32")


def test_a_fetch_tells_its_progress_and_last_which_checkpoint_to_go_on_with(tmp_path, monkeypatch):
    monkeypatch.setenv("XMEM_CHECKPOINTS", str(tmp_path))
    arrived = checkpoints.FetchProgress(1, 2)

    def cut_off(name):
        yield arrived
        raise InputError("The line was cut.")

    monkeypatch.setattr("xmem.checkpoints.load.fetch", cut_off)
    first, last = checkpoints.fetch_or_embedded("XMem")
    assert first == arrived and last.name == "xmem-lite" and last.note.startswith("The line was cut – ")
    assert list(checkpoints.fetch_or_embedded("xmem-lite")) == [checkpoints.Chosen("xmem-lite")]
