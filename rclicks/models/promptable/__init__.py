"""Toolkit of promptable models (such as SAM): an image is encoded once, and prompts are decoded in batches."""
