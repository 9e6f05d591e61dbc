"""Training of click models on clicks of people."""
