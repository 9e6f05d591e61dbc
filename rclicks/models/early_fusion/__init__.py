"""Toolkit of early-fusion models (such as RITM): image, clicks and previous mask are the input of one network."""
