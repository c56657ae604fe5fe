"""What makes a CPU fast, applied to a network from outside: folding, packed weights, Winograd convolutions.

The families' modules are the papers' forward passes; here, their layers become instances of faster subclasses, with the
same weights under the same names.
"""

from xmem.networks.cpu.fold import fold_batch_norm
from xmem.networks.cpu.optimise import optimise_for_cpu

__all__ = ["fold_batch_norm", "optimise_for_cpu"]
