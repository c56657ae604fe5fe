"""Past one machine: work by workers of Ray, and a folder of clips that is followed by them, or by this process."""
