"""Checkpoints on disk: open them lazily, check everything that is read, write new ones all at once."""

from m2m.checkpoint.aligned import align
from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.header import TensorInfo
from m2m.checkpoint.manifest import Verification, verified_state, verify
from m2m.checkpoint.writer import save

__all__ = ["Checkpoint", "TensorInfo", "Verification", "align", "save", "verified_state", "verify"]
