"""Fits and predictions run on one thread: sums depend on the number of threads, and results must repeat."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold the libraries that predictors call to one thread.

    Yields:
        None: While the block runs.
    """
    # All are loaded first: what is loaded inside would not be held.
    import lightgbm  # noqa: F401
    import scipy.linalg  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
