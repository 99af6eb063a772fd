"""The questions that both papers leave open, asked of real models."""
