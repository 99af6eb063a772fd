"""What every room may use: files and outputs, doors and schemas, tables, user code, the command line."""
