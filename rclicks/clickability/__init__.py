"""Click models: maps of where people click on an object or on an error, and functions that use these maps."""
