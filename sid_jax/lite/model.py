"""Runs the trained model of an export in NumPy: vectors to codes, and codes to vectors, in float32."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .safetensors import read_safetensors

FILE = "codebooks.safetensors"


class Model:
    """The scaling, encoder, codebooks and decoder of an export.

    Args:
      arrays: the arrays of an export's `codebooks.safetensors`.
      info: the settings that cannot be derived from the arrays: `unit_norm`, `activation`, and `parts` if vectors have
        parts.

    Attributes:
      codebooks: L arrays `[K, Z]` float32.
      num_features: D of the vectors.
      scale: `[D]` float32, the number by which scaling divides each feature.
      has_parts: whether vectors have named parts; an item may lack some of them.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], info: Mapping[str, Any]):
        self._arrays, self._activation = arrays, _ACTIVATIONS[info["activation"]]
        self._mean, self.scale = arrays["scaling.mean"], arrays["scaling.scale"]
        self._filler = arrays.get("scaling.filler")
        self.has_parts = self._filler is not None
        self.num_features = len(self._mean)
        self._parts = info.get("parts") or [{"num_features": self.num_features, "unit_norm": info["unit_norm"]}]
        if "codebooks" in arrays:
            self.codebooks = list(arrays["codebooks"])
        else:
            count = sum(name.startswith("codebooks.") for name in arrays)
            self.codebooks = [arrays[f"codebooks.{level}"] for level in range(count)]
        self._norms = [np.square(codebook).sum(axis=1) for codebook in self.codebooks]

    @classmethod
    def read(cls, folder: Path) -> Model:
        """Reads the model of an export's folder.

        Raises:
          ValueError: if the file is damaged, or this version of sid_jax does not know the kind of model.
          OSError: if the file cannot be read.
        """
        arrays, metadata = read_safetensors(folder / FILE)
        try:
            return cls(arrays, json.loads(metadata["info"]))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{folder / FILE} has a missing or invalid entry ({error}); export again") from error

    @property
    def sizes(self) -> tuple[int, ...]:
        """K of each of the L levels."""
        return tuple(map(len, self.codebooks))

    def encode(self, vectors: Any) -> np.ndarray:
        """Returns the codes `[n, L]` int32 of vectors `[n, D]`, or `[L]` of one vector `[D]`.

        For vectors with parts, NaN marks a part that an item lacks.

        Raises:
          ValueError: if the shape or the dtype is wrong, or if values are not finite.
        """
        vectors = self._checked(vectors)
        codes = self.assign(self.latents(np.atleast_2d(vectors)))
        return codes if vectors.ndim == 2 else codes[0]

    def decode(self, codes: Any) -> np.ndarray:
        """Returns the decoded vectors `[n, D]` float32 of codes `[n, L]`, or `[D]` of the codes `[L]` of one item.

        They approximate the item vectors before centering and division by `scale`. With `unit_norm`, they approximate
        the item vectors after normalization to length 1.
        """
        codes = np.asarray(codes)
        vectors = self.decoded(np.atleast_2d(codes)) * self.scale + self._mean
        return vectors if codes.ndim == 2 else vectors[0]

    def scaled(self, vectors: np.ndarray) -> np.ndarray:
        """Returns the scaled vectors `[n, D]`, the decoder's targets; NaN where a part is missing."""
        blocks = zip(self._blocks(vectors), self._parts, strict=True)
        normalized = [_unit(block) if part["unit_norm"] else block for block, part in blocks]
        inputs = np.concatenate(normalized, axis=1) if self.has_parts else normalized[0]
        return (inputs - self._mean) / self.scale

    def latents(self, vectors: np.ndarray) -> np.ndarray:
        """Returns the latent vectors `[n, Z]` of vectors `[n, D]`."""
        scaled = self.scaled(vectors)
        if self._filler is not None:
            missing = np.isnan(scaled)
            scaled = np.where(missing, np.where(missing, np.float32(0), scaled) @ self._filler, scaled)
        return self._network("encoder", scaled)

    def assign(self, latents: np.ndarray) -> np.ndarray:
        """Returns the codes `[n, L]` int32 of the nearest codewords, level by level, for latent vectors `[n, Z]`."""
        codes = np.empty((len(latents), len(self.codebooks)), np.int32)
        for level, (codebook, norms) in enumerate(zip(self.codebooks, self._norms, strict=True)):
            codes[:, level] = np.argmax(2 * (latents @ codebook.T) - norms, axis=1)
            latents = latents - codebook[codes[:, level]]
        return codes

    def decoded(self, codes: np.ndarray) -> np.ndarray:
        """Returns the decoder's output `[n, D]` for codes `[n, L]`, in the space of `scaled`."""
        total = np.zeros((len(codes), self.codebooks[0].shape[1]), np.float32)
        for level, codebook in enumerate(self.codebooks):
            total += codebook[codes[:, level]]
        return self._network("decoder", total)

    def _network(self, part: str, inputs: np.ndarray) -> np.ndarray:
        depth, hidden = 0, inputs
        while (name := f"{part}.network.{2 * depth}") + ".weight" in self._arrays:
            # There is no activation after the last layer.
            hidden = self._activation(hidden) if depth else hidden
            hidden = hidden @ self._arrays[f"{name}.weight"].T + self._arrays[f"{name}.bias"]
            depth += 1
        shortcut = self._arrays.get(f"{part}.shortcut.weight")
        return hidden if shortcut is None else hidden + inputs @ shortcut.T

    def _blocks(self, vectors: np.ndarray) -> list[np.ndarray]:
        return np.split(vectors, np.cumsum([part["num_features"] for part in self._parts])[:-1], axis=-1)

    def _checked(self, vectors: Any) -> np.ndarray:
        vectors = np.asarray(vectors)
        if vectors.ndim not in (1, 2) or vectors.shape[-1] != self.num_features:
            raise ValueError(f"vectors have shape {list(vectors.shape)}; this model encodes [n, {self.num_features}]")
        if vectors.dtype.kind not in "fiu":
            raise ValueError(f"vectors have dtype {vectors.dtype}; give real numbers, such as float32")
        vectors = vectors.astype(np.float32)
        if not self.has_parts:
            if not np.isfinite(vectors).all():
                raise ValueError("vectors have NaN or infinite values; correct or remove them")
            return vectors
        blocks = self._blocks(vectors)
        lacking = np.stack([np.isnan(block).all(axis=-1) for block in blocks], axis=-1)
        finite = np.stack([np.isfinite(block).all(axis=-1) for block in blocks], axis=-1)
        if not (finite | lacking).all():
            raise ValueError("vectors have NaN or infinite values; correct or remove them")
        if lacking.all(axis=-1).any():
            raise ValueError("a vector has none of its parts; each item must have at least one part")
        return vectors


def _unit(vectors: np.ndarray) -> np.ndarray:
    # Each vector is first divided by its largest absolute value, since squares of very large or small numbers leave
    # float32's range.
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    shrunk = vectors / np.where(largest > 0, largest, 1)
    square = np.square(shrunk).sum(axis=1, keepdims=True)
    return shrunk / np.sqrt(np.where(square > 0, square, 1))


def _silu(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # exp of a large number is infinite, and the result is then 0, which is correct.
        return values / (1 + np.exp(-values))


def _gelu(values: np.ndarray) -> np.ndarray:
    erf = np.frompyfunc(math.erf, 1, 1)(values * 0.5**0.5).astype(np.float32)
    return values * (1 + erf) / 2


def _relu(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0)


_ACTIVATIONS = {"silu": _silu, "gelu": _gelu, "relu": _relu}
