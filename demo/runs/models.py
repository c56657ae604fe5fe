"""The networks at hand on the page, and what takes the place of one that cannot be had."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict

import xmem
from xmem.checkpoints import EMBEDDED
from xmem.networks.xmem import XMem

log = logging.getLogger("xmem.demo")


class ModelCache:
    """The networks last used, at most `capacity` of them; shared by all visitors, who only read them."""

    def __init__(self, capacity: int = 2) -> None:
        self._capacity = capacity
        self._models: OrderedDict[tuple[str, str, str], XMem] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str, device: str, precision: str = "auto") -> XMem:
        """The network `name` on `device`, loaded if need be. Raises InputError as `xmem.load_model` does."""
        with self._lock:
            model = self._models.pop((name, device, precision), None)
            if model is None:
                while len(self._models) >= self._capacity:
                    self._models.popitem(last=False)  # before loading: two large ones at a time, never three
                model = xmem.load_model(name, device, precision)
            self._models[name, device, precision] = model
            return model


MODELS = ModelCache()


def load(model: str, device: str, precision: str = "auto") -> tuple[XMem, str, str]:
    """The network to use, its name, and the reason where it is not the chosen one."""
    try:
        return MODELS.get(model, device, precision), model, ""
    except xmem.InputError as error:
        if model == EMBEDDED:
            raise
        log.warning("%s cannot be used, %s takes its place: %s", model, EMBEDDED, error)
        return MODELS.get(EMBEDDED, device, precision), EMBEDDED, going_on(str(error))


def going_on(reason: str) -> str:
    """What the page says when a chosen checkpoint cannot be had."""
    return f"{reason.rstrip('.')} – the page goes on with {EMBEDDED}."
