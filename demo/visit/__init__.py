"""One visitor: a workspace on disk, and what is on the stage now."""
