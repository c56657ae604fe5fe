"""What each control does, by step: plain functions, which tests call without a browser."""
