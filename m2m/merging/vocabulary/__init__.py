"""Models whose token ids differ: one vocabulary for the output, and where each of its rows comes from."""
