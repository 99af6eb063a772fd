"""Merge recipes: mergekit's YAML, checked, as data."""
