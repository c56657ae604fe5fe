"""`python -m xmem`: segment, evaluate, models, train."""

import sys

from xmem.cli import main

sys.exit(main())
