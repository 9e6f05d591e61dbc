"""Toolkit of early-fusion models: image, click maps and previous mask enter one network (RITM and its kin)."""
