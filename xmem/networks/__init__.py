"""Tensors in, tensors out, no state: a folder per family, and in `cpu` what makes a CPU fast."""
