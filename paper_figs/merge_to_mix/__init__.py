"""Figures after Merge to Mix (arXiv 2505.16066)."""
