"""Strings out of values: panels, charts, style; no logic of the page."""
