"""Supervoxels: partitions of a volume by classical methods, or by masks of SAM that SAM 2 propagates through slices."""
