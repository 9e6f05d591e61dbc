"""Toolkit of methods without weights: clicks become seeds, and seeds become a mask."""
