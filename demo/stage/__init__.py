"""The one place to see, paint and correct: HTML, CSS and scripts, and the Python half of each event."""
