"""Toolkit of methods without weights. They turn interactions into seeds, and seeds into a mask."""
