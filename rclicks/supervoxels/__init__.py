"""Partitions of a volume that need no class: classical ones, and SAM masks propagated through the slices by SAM 2."""
