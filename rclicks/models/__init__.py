"""The adapter contract, checkpoints, devices and batching helpers."""
