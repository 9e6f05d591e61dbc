"""Pure functions on arrays that score masks."""
