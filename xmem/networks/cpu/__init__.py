"""What makes a CPU fast, applied to a network from outside: folding, packed weights, Winograd convolutions."""

from xmem.networks.cpu.fold import fold_batch_norm
from xmem.networks.cpu.packed import use_packed
from xmem.networks.cpu.winograd import use_winograd

__all__ = ["fold_batch_norm", "use_packed", "use_winograd"]
