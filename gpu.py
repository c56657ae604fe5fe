"""All that only a GPU can show, in one command: `python3 gpu.py`. See `xmem.benchmark.gpu`, and docs/benchmark.md.

In a bundle (`make gpu-bundle`), `site/` holds the packages that the machine may lack.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent

for folder in (ROOT / "tests", ROOT, ROOT / "site"):
    sys.path.insert(0, str(folder))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "site"), os.environ.get("PYTHONPATH")]))

if __name__ == "__main__":
    from xmem.benchmark.gpu.run import main

    sys.exit(main())
