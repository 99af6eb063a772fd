"""A plan is run: windows of tensors pass through the compiled stream, into a folder that appears last."""
