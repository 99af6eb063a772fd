"""LoRA experts: adapters as they are, their exact sum, their Gram matrices, one adapter in place of many."""

from m2m.merging.lora.adapted import AdaptedCheckpoint
from m2m.merging.lora.adapter import Adapter, is_adapter
from m2m.merging.lora.additions import AdaptedTensor
from m2m.merging.lora.experts import expert_tensors
from m2m.merging.lora.gram import LoraGram, lora_gram
from m2m.merging.lora.terms import resolve_terms

__all__ = [
    "AdaptedCheckpoint",
    "AdaptedTensor",
    "Adapter",
    "LoraGram",
    "expert_tensors",
    "is_adapter",
    "lora_gram",
    "resolve_terms",
]
