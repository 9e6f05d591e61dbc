"""Training of networks: what all trainable families share."""
