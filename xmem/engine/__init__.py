"""A video through a network: one step, frames ahead and behind, whole runs."""
