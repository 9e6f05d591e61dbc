"""Recorded clicks of real people: tables of clicks, and the objects on which people clicked."""
