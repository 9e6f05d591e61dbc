"""Pure functions on arrays that score masks and click maps."""
