"""Before and beside a run: preflight estimates, dry runs, comparisons of settings."""
