"""`python -m xmem`, which is the command `xmem` where the package is not installed."""

import sys

from xmem.cli import main

sys.exit(main())
