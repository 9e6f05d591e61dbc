"""Clicks of real people: their tables, and the objects they belong to."""
