"""What a merge did, in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class MergeReport:
    """What a merge did.

    Attributes:
        out: The folder that was made.
        folders: The checkpoint folders in it: itself, or one a candidate.
        tensors: Tensors in each checkpoint.
        wall_s: Time from the call to the finished folder, in seconds.
        read_bytes: Tensor bytes read from the inputs.
        written_bytes: Tensor bytes written.
        resumed_bytes: Tensor bytes of the outputs that an earlier, interrupted run had written.
        peak_rss_bytes: Most memory the process has held since it started, file pages included.
        peak_anon_bytes: Most memory seen during the merge that is not a file's, if the system tells.
        threads: Workers.
        slot_bytes: Staging memory of one input or output, a worker.
    """

    out: Path
    folders: tuple[Path, ...]
    tensors: int
    wall_s: float
    read_bytes: int
    written_bytes: int
    resumed_bytes: int
    peak_rss_bytes: int
    peak_anon_bytes: int | None
    threads: int
    slot_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Turn the report into what JSON can hold.

        Returns:
            The attributes by name, paths as text.
        """
        return {**asdict(self), "out": str(self.out), "folders": [str(folder) for folder in self.folders]}
