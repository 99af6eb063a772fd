"""Figures after MergeMix (arXiv 2601.17858)."""
