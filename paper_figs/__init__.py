"""Figures of the papers, redrawn from results; nothing is computed here."""
