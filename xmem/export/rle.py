"""COCO's compressed run lengths, as pycocotools reads them."""

import numpy as np

_GROUPS = 7  # of 5 bits: enough for any difference of two 32-bit runs


def encode(mask: np.ndarray) -> str:
    """The `counts` of bool [H, W].

    Runs of 0s and 1s down the columns, 0s first; from the fourth on, each as its difference to the one two before; each
    number in groups of 5 bits, lowest first, with bit 5 set where another follows, and 48 added to make it a letter.
    """
    flat = np.asarray(mask, bool).ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], changes, [flat.size]]))
    if flat.size and flat[0]:
        runs = np.concatenate([[0], runs])
    numbers = runs.copy()
    numbers[3:] -= runs[1:-2]
    return _letters(numbers)


def _letters(numbers: np.ndarray) -> str:
    """Signed numbers [N] in 5-bit groups."""
    shifted = numbers[:, None] >> (5 * np.arange(_GROUPS))  # [N, G], with its sign
    low = shifted & 31
    rest = shifted >> 5
    ends = np.where(low & 16, rest == -1, rest == 0)  # the sign is the last group's bit 4
    length = ends.argmax(axis=1) + 1  # [N]
    place = np.arange(_GROUPS)
    used = place < length[:, None]
    more = place < length[:, None] - 1
    return ((low | more * 32) + 48)[used].astype(np.uint8).tobytes().decode("ascii")
