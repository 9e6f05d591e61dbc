"""Networks of click models; imported when a model is loaded."""
