"""J and F, against ground truth: sequences, a visitor's own masks, suggestions."""
