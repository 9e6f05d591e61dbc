"""The contract of models, checkpoints, devices, and toolkits that several model families share."""
