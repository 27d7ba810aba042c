"""Limits the linear algebra of NumPy and SciPy to one thread.

Long sequences of small products and decompositions are faster on one thread. The threads of a BLAS library wait for
each other in busy loops. If other processes use the cores, waiting takes many times as long as the computation.
"""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager

from threadpoolctl import ThreadpoolController


def one_blas_thread() -> AbstractContextManager[object]:
    """Returns a context in which NumPy and SciPy use one thread, in the whole process. JAX is not affected."""
    return _blas_libraries().limit(limits=1, user_api="blas")


@functools.cache
def _blas_libraries() -> ThreadpoolController:
    # SciPy is imported first, since ThreadpoolController finds only libraries that are already loaded. The result is
    # cached, since finding the libraries takes as long as a matrix decomposition.
    import scipy.linalg  # noqa: F401

    return ThreadpoolController()
