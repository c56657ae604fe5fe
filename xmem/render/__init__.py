"""Results as people see and keep them: colours, overlays, mask files."""
