"""An executor that gives jobs to this process as other processes get them."""

from __future__ import annotations

import pickle
from typing import Any

from m2m.executors.local import Local


class Packed(Local):
    """Gives jobs to this process as other processes get them."""

    def run(self, function: Any, jobs: Any, **rest: Any) -> Any:
        return super().run(function, [pickle.loads(pickle.dumps(job)) for job in jobs], **rest)
