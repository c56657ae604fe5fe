"""What is done with a result: looks, exports, quality, compare; a file each."""
