"""Training: clips made of real video and pasted objects, losses, the loop."""
