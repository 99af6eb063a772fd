"""Command lines of the theory's rooms: light at import, the work is imported when it is done."""
