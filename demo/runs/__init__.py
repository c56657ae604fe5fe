"""Runs: their settings, the networks at hand, and the steps that a page follows."""
