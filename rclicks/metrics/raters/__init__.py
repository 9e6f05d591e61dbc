"""Metrics for several raters: overlap, consensus, agreement and sets of predictions."""
