"""Set-ups: a base model, the datasets experts are fine-tuned on, and the targets they are scored on."""

from m2m.setups.load import load

__all__ = ["load"]
