"""Toolkit of promptable models: an image is encoded once, prompts are decoded in batches (SAM and its kin)."""
