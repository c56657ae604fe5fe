"""What makes a CPU fast, applied to a network from outside: folding, packed weights, Winograd convolutions."""
