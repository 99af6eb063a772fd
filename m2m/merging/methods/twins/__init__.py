"""Reference twins: every method on whole tensors in plain torch, which all others must match."""
