"""Experiments around the tutorial: each lab has its own notebook and README."""
