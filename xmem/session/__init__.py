"""A piece of work on one video, kept on disk: key frames, objects, results, and what is made of them."""
