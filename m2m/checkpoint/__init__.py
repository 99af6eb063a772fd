"""Checkpoints on disk: open them lazily, check everything that is read, write new ones all at once."""

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.compare import check_same_tensors
from m2m.checkpoint.header import TensorInfo
from m2m.checkpoint.manifest import Verification, verify
from m2m.checkpoint.verified import verified_state
from m2m.checkpoint.writer import save

__all__ = [
    "Checkpoint", "TensorInfo", "Verification", "check_same_tensors", "save", "verified_state", "verify",
]  # fmt: skip
