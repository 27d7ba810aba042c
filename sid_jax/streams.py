"""Random keys as a function of (seed, stream name, step), so that a resumed run draws the same random numbers."""

from __future__ import annotations

import zlib

import jax
import numpy as np


def stream_key(seed: int | jax.Array, name: str, step: int | jax.Array = 0) -> jax.Array:
    """Returns the typed PRNG key of one stream at one step; `seed` and `step` may be traced.

    Streams are distinguished by the CRC-32 of their name, so that adding a stream does not change the others.
    """
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode())), step)


def stream_rng(seed: int, name: str) -> np.random.Generator:
    """Returns a NumPy generator for one stream, for random draws that are made once, on the host."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
