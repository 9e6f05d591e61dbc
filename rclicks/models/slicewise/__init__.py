"""Toolkit of 2-D models that work through the slices of a volume."""
