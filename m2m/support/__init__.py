"""What every room may use: files and outputs, strict tables, units, user code, the programs' front door."""
