"""Libraries of predictors run on one thread, those too that the first fit loads."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
from threadpoolctl import threadpool_info
import numpy as np
from m2m.predicting.predictor import fit_predictor
from m2m.predicting.families import FAMILIES
from m2m.predicting.protocol import Constant, Family

def fitter(x, y, seed):
    import lightgbm, scipy.linalg, sklearn.linear_model
    print(*{pool["num_threads"] for pool in threadpool_info()}, len(threadpool_info()))
    return Constant(0.0)

FAMILIES["watched"] = Family("watched", "", fitter)
fit_predictor(np.eye(12), np.arange(12.0), "watched", fold_count=2)
"""


def test_libraries_that_the_first_fit_loads_are_held_too() -> None:
    asked = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=asked, capture_output=True, text=True, check=True
    )
    for line in done.stdout.splitlines():
        threads, libraries = line.split()
        assert threads == "1"
        assert int(libraries) >= 3
    assert done.stdout
