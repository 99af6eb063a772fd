"""Figures of the questions that both papers leave open."""
