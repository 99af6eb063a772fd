"""Data as people have it: rows of any file, what they say, and which of their tokens are the answer."""
