"""Figures of the error-bound analyses, which neither paper has."""
