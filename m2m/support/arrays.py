"""Names of the array types that are everywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: 64-bit reals of any shape.
Floats = NDArray[np.float64]
#: 64-bit whole numbers of any shape.
Ints = NDArray[np.int64]
