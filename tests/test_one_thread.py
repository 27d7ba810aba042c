"""`one_blas_thread` limits BLAS to one thread, and restores the former number of threads."""

import scipy.linalg  # noqa: F401  (loads SciPy's BLAS library, whose threads are limited too)
import threadpoolctl

from sid_jax.one_thread import one_blas_thread


def _threads():
    return {each["filepath"]: each["num_threads"] for each in threadpoolctl.threadpool_info()}


def test_blas_has_one_thread_inside_and_its_former_number_outside():
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        with one_blas_thread():
            inside = _threads()
        outside = _threads()
    assert len(inside) >= 2, "the BLAS library of NumPy or of SciPy was not found"
    blas = [path for path in inside if "openblas" in path]
    assert {inside[path] for path in blas} == {1}
    assert {outside[path] for path in blas} == {2}
