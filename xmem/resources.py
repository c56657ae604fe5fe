"""What comes along with the code: the embedded weights, the sample clip, and the page.

In a checkout they lie where they are written. In an installed package they lie below `xmem/share/`, in folders of the
same names: the build copies them there (see pyproject.toml), so that the repository holds them once.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_SHARE = _PACKAGE / "share"
IS_INSTALLED = _SHARE.is_dir()  # else this is a checkout
ROOT = _SHARE if IS_INSTALLED else _PACKAGE.parent
RESTORE = "install xmem again" if IS_INSTALLED else "restore it with 'git checkout'"  # what to do where one is missing

EMBEDDED_CHECKPOINTS = ROOT / "checkpoints"
SAMPLE_VIDEO = ROOT / "demo" / "samples" / "big-buck-bunny.mp4"  # 90 frames, 640x360
