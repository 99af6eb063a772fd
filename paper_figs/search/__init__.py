"""Figures of the search for the best mixture."""
