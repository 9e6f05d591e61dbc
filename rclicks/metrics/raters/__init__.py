"""Metrics of several raters: overlap, consensus, agreement, sets of predictions."""
