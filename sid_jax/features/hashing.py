"""Hashes that are the same in every process and on every machine."""

from __future__ import annotations

import hashlib

import numpy as np

# The finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
_STEP, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def hash_numbers(numbers: np.ndarray) -> np.ndarray:
    """Returns a hash of each row of `[..., L]` integers: `[...]` uint64."""
    state = np.zeros(numbers.shape[:-1], np.uint64)
    for each in np.moveaxis(numbers, -1, 0):
        state = _mixed(state + _STEP + each.astype(np.int64).view(np.uint64))
    return state


def hash_ids(item_ids: np.ndarray, seed: int) -> np.ndarray:
    """Returns a hash of each of `[N]` ids as text: `[N]` uint64."""
    salt = seed.to_bytes(8, "little")
    digests = (hashlib.blake2b(str(each).encode(), digest_size=8, salt=salt).digest() for each in item_ids.tolist())
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def _mixed(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))
