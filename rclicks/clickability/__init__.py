"""Click models: where people click on an object or on an error, and what is done with such maps."""
