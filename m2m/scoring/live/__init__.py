"""Candidates scored in one live module in memory: merged in place, stacked, or staged to a device."""
