"""`python -m xmem benchmark`: how fast this machine is, and in how much memory; see docs/benchmark.md."""

from xmem.benchmark.cases import Case, Sweep
from xmem.benchmark.results import Report, Row

__all__ = ["Case", "Report", "Row", "Sweep"]
