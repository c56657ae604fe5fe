"""The networks at hand on the page, and the devices for them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import xmem
from demo.html import panels
from demo.runs import workers, zero
from demo.runs.follow import follow
from demo.runs.workers import Device
from xmem import checkpoints
from xmem.checkpoints.catalogue import D16, EMBEDDED, HELD_BACK, REGISTRY
from xmem.device import choose_precision, describe_device, precision_name, select_device
from xmem.families import FAMILIES, Family
from xmem.networks import Network
from xmem.session import TrackSettings

ORDER = ("xmem", "cutie", "aot", "stcn", "stm")  # of the families in the choice: what most will want first
GROUPED = "by-family"  # the class of a choice whose list has the families' headings
OWN_FILES = "Own files"


class ModelCache:
    """The networks last used, at most `capacity` of them; shared by all visitors, who only read them. One whose file
    has changed since is loaded anew."""

    def __init__(self, capacity: int = 2) -> None:
        self._capacity = capacity
        self._models: OrderedDict[tuple[str, str, str], tuple[Network, tuple[int, ...]]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str, device: str, precision: str = "auto") -> Network:
        """The network `name` on `device`, loaded if need be. Raises InputError as `xmem.load_model` does."""
        with self._lock:
            model, before = self._models.pop((name, device, precision), (None, ()))
            now = _version(name)
            if model is None or now != before:
                model = None  # before loading: two large ones at a time, never three
                while len(self._models) >= self._capacity:
                    self._models.popitem(last=False)
                model = xmem.load_model(name, device, precision)
            self._models[name, device, precision] = model, now
            return model

    def any(self) -> bool:
        """Whether a network is loaded."""
        return bool(self._models)


def _version(name: str) -> tuple[int, ...]:
    """What tells a checkpoint's file from one that takes its place; empty where there is none."""
    path = checkpoints.find(name) if Path(name).name == name else None
    try:
        found = (path or Path(name)).stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


MODELS = ModelCache()


def load(model: str, device: str, precision: str = "auto") -> checkpoints.Loaded:
    """The network to use, one that was loaded before where it is that."""
    return checkpoints.load_or_embedded(model, device, precision, MODELS.get)


def place() -> str:
    """Load the network that visitors get, so that a damaged one is noticed before they come; where it cannot be used,
    the embedded one takes its place. Returns why, or "".

    To be called by the main thread before the page is served: where a GPU is lent by the call, `spaces` stands in for
    it then, and the network goes along to each process that gets the GPU. Raises InputError where neither can be used.
    """
    (note,) = _placed(default_model(), device_choices()[0][1], TrackSettings().precision)
    if note:
        os.environ.pop("XMEM_MODEL", None)
    return note


@workers.beside
def _placed(model: str, device: str, precision: str) -> Iterator[str]:
    yield load(model, device, precision).note


def is_ready() -> bool:
    """Whether a network is loaded, here or by a worker."""
    return MODELS.any() or workers.WORKERS.count > 0


def devices() -> Iterator[list[Device]]:
    """Once, those of this process, the best first: a work for a worker."""
    yield [
        Device(label, name, precision_name(choose_precision("auto", select_device(name))))
        for label, name in device_choices()
    ]


def device_choices() -> list[tuple[str, str]]:
    """(label, value) of the devices found, here or by workers, the best first; where a GPU is lent by the call, nothing
    else."""
    if workers.WORKERS.devices:
        return [(each.label, each.name) for each in workers.WORKERS.devices]
    found = []
    for name in ("cuda",) if zero.is_lent() else ("cuda", "mps", "cpu"):
        try:
            found.append((describe_device(select_device(name)), name))
        except xmem.InputError:
            continue
    return found


def default_model() -> str:
    """XMEM_MODEL, else the released XMem where a GPU and its file are at hand, else the one that comes along."""
    chosen = checkpoints.default_model()
    if chosen != EMBEDDED or device_choices()[0][1] == "cpu" or checkpoints.find("XMem") is None:
        return chosen
    return "XMem"


def model_choices() -> list[tuple[str, str]]:
    """(label, name) of the registered checkpoints, family by family, of files put into the folder by hand, and of
    XMEM_MODEL."""
    choices = []
    for name, record in _by_family():
        if record.url is None:
            state = "comes with the page"
        elif checkpoints.find(name):
            state = "at hand"
        else:
            state = f"{record.size_bytes / 1e6:.0f} MB to fetch" if record.size_bytes else "to fetch"
        choices.append((f"{name} · {state}", name))
    choices += [(f"{path.stem} · own file", path.name) for path in checkpoints.own_files()]
    chosen = checkpoints.default_model()
    if chosen not in dict((name, label) for label, name in choices):
        choices.append((f"{Path(chosen).stem} · own file", chosen))
    return choices


def headings() -> list[tuple[int, str, str]]:
    """Of the list of `model_choices`: where a family begins, its title, and what it is good at."""
    found, last = [], ""
    for place, (_, record) in enumerate(_by_family()):
        if record.family != last:
            kind = FAMILIES[record.family]
            found.append((place, kind.title, kind.good_at.partition(":")[0]))
            last = record.family
    return [*found, (len(REGISTRY), OWN_FILES, "")]


def heading_css() -> str:
    """Style rules that write the headings over the first entry of each family, which Gradio's lists have no place for.
    They are gone from a list that is searched where that entry is."""
    item = f".{GROUPED} li[role=option]"
    said = ((place, f"{title}: {good_at}" if good_at else title) for place, title, good_at in headings())
    return "".join(f'{item}[data-index="{place}"]::before {{ content: "{text}"; }}\n' for place, text in said)


def _by_family() -> list[tuple[str, checkpoints.Checkpoint]]:
    return sorted(REGISTRY.items(), key=lambda entry: ORDER.index(entry[1].family))


def listed(name: str) -> str:
    """The name, where it is one of `model_choices`. Raises InputError: a visitor names no files of the server."""
    if name not in [choice for _, choice in model_choices()]:
        raise xmem.InputError("There is no model of that name here: choose one of those listed.")
    return name


def family(name: str) -> Family:
    """The family of a listed model; of one that cannot be had, that of the embedded one, which takes its place."""
    if name in REGISTRY:
        return FAMILIES[REGISTRY[name].family]
    try:
        path = checkpoints.find(name) if Path(name).name == name else Path(name)
        if path is not None:
            return _family_in(path, path.stat().st_mtime_ns)
    except (OSError, xmem.InputError):
        pass  # said when it is to be loaded
    return FAMILIES[REGISTRY[EMBEDDED].family]


@lru_cache(maxsize=32)
def _family_in(path: Path, _changed: int) -> Family:
    return checkpoints.family_in(path)


def there(device: str) -> str:
    """The device, where it is one of `device_choices`. Raises InputError."""
    if device not in ["auto", *(choice for _, choice in device_choices())]:
        raise xmem.InputError("There is no device of that name here: choose one of those listed.")
    return device


def make_ready(name: str) -> Iterator[str | checkpoints.Chosen]:
    """Fetch a checkpoint unless it is at hand: a panel about once per second, and last which one to go on with."""
    for latest in follow(checkpoints.fetch_or_embedded(name), wait=False):
        yield latest if isinstance(latest, checkpoints.Chosen) else panels.busy(*fetched(name, latest))


def fetched(name: str, progress: checkpoints.FetchProgress | None) -> tuple[str, float | None]:
    """What to say while a checkpoint is fetched, and the share that has arrived where that is known."""
    if progress is None:
        return f"Fetching {name}…", None
    total = progress.total_bytes or REGISTRY[name].size_bytes
    done = f"{progress.done_bytes / 1e6:.0f}"
    if not total:
        return f"Fetching {name}: {done} MB", None
    return f"Fetching {name}: {done} of {total / 1e6:.0f} MB", min(1.0, progress.done_bytes / total)


def accuracy(name: str) -> str:
    """The notice beside the model choice: which accuracy to expect from this model, and from the other kind."""
    own, released = REGISTRY[EMBEDDED].figures[HELD_BACK], REGISTRY["XMem"].figures[D16]
    if name == EMBEDDED:
        text = (
            f"Expect J&F {own} ({HELD_BACK}, measured by us): quick, and good for clear objects; fast, small or "
            f"look-alike ones may need a correction or two. XMem reaches {released} ({D16}, published, other clips)."
        )
    elif name in REGISTRY:
        figures = ", ".join(f"{value} ({data})" for data, value in REGISTRY[name].figures.items())
        expected = f"Expect J&F {figures}, as published." if figures else "Its published J&F is not quoted here."
        text = f"{expected} On a CPU it takes many times as long as {EMBEDDED}, whose J&F is {own} ({HELD_BACK})."
    else:
        text = "No score is known for this file: try it on a clip that you know."
    kind = family(name)
    return panels.accuracy(f"{kind.title}, for {kind.good_at}. {text}")


def status(model: str | None = None, device: str | None = None) -> str:
    """The line that says which model and device work, and in which precision; None: those at first."""
    model, device = model or default_model(), device or device_choices()[0][1]
    labels = {value: label for label, value in device_choices()}
    theirs = {each.name: each.precision for each in workers.WORKERS.devices}
    precision = theirs.get(device) or precision_name(choose_precision("auto", select_device(device)))
    name = Path(model).stem if model not in REGISTRY else model
    return panels.status_line(f"{labels.get(device, device)}, {precision}", name)
