"""Training of click models."""
