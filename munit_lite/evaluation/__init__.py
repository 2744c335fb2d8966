"""Measurements of a translator: attribute predictors with a known error, metrics with confidence intervals, image
metrics and mode coverage. Each number is an estimate on held-out images."""
