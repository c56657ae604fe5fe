"""Ways that a GPU may be faster, a file each, reached by the benchmark alone: one that has shown its gain on one joins
the engine, any other is deleted. None of them has run on one so far; what a CPU can show of them is tested."""
