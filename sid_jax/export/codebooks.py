"""Writes and reads the trained model as safetensors, and writes it in PyTorch's own format, without PyTorch.

The weights have the names and shapes of a PyTorch model. Its `encoder.network` and `decoder.network` are `Sequential`
modules of `Linear` layers with weights `[out, in]`. Its `quantization_layers` are embeddings with weights `[K, Z]`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from sid_jax.errors import UserError, reason
from sid_jax.export.torch_file import write_torch_file
from sid_jax.paths import as_path

_SAFETENSORS = "codebooks.safetensors"
# Arrays that every scaling has. For vectors with parts, a scaling also has a "filler", see `data.scaling.fit_filler`.
_SCALING = ("mean", "scale")


def write_codebooks(
    folder: Path,
    weights: Mapping[str, np.ndarray],
    scaling: Mapping[str, np.ndarray],
    info: dict[str, Any],
    training: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Writes `codebooks.safetensors` and `codebooks.pt`, with all arrays as float32.

    Args:
      folder: an existing folder.
      weights: arrays by name: `encoder.network.0.weight` and so on, and `quantization_layers.0.embedding.weight` for
        each level.
      scaling: "mean" and "scale", `[D]` each, and for vectors with parts "filler", `[D, D]`, the linear map that
        predicts missing parts.
      info: the other settings of the model as JSON values: `unit_norm`, `activation`, …
      training: arrays that only further training needs, by name; written only to the safetensors file.
    """
    # The bytes are serialized in memory, since safetensors' own file writing does not report a full disk as an OSError.
    (folder / _SAFETENSORS).write_bytes(safetensors_bytes({**weights, **(training or {})}, scaling, info))
    weights = {name: _float32(array) for name, array in weights.items()}
    scaling = {name: _float32(array) for name, array in scaling.items()}
    content = {"codebooks": _stacked(_codebooks(weights)), "scaling": scaling, "info": info, "state_dict": weights}
    write_torch_file(folder / "codebooks.pt", content)


def read_codebooks(
    folder: str | Path,
) -> tuple[list[np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Any]]:
    """Reads `codebooks.safetensors`.

    Returns:
      The L codebooks, `[K, Z]` float32 each; the encoder's and the decoder's weights by name; the scaling, see
      `write_codebooks`; and `info`, with lists instead of tuples.

    Raises:
      UserError: if the file is missing or corrupt.
    """
    path = as_path(folder) / _SAFETENSORS
    if not path.is_file():
        raise UserError(f"{path} is missing, so {folder} is not an export; give the folder of an export")
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is not a dict)
            info = json.loads(file.metadata()["info"])
        there = [name for name in (*_SCALING, "filler") if name in _SCALING or f"scaling.{name}" in tensors]
        scaling = {name: tensors.pop(f"scaling.{name}") for name in there}
        codebooks = _take_codebooks(tensors)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is corrupt ({type(error).__name__}: {reason(error)}): export again") from error
    return codebooks, tensors, scaling, info


def safetensors_bytes(
    weights: Mapping[str, np.ndarray], scaling: Mapping[str, np.ndarray], info: dict[str, Any]
) -> bytes:
    """Returns the content of `codebooks.safetensors`; see `write_codebooks`. Equal models have equal bytes."""
    codebooks = list(map(_float32, _codebooks(weights)))
    stacked = _stacked(codebooks)
    if isinstance(stacked, np.ndarray):
        tensors = {"codebooks": stacked}
    else:
        tensors = {f"codebooks.{level}": codebook for level, codebook in enumerate(stacked)}
    tensors |= {f"scaling.{name}": _float32(array) for name, array in scaling.items()}
    # The codebooks are not repeated under their PyTorch names, so that each array is stored once.
    in_codebooks = {_codebook_name(level) for level in range(len(codebooks))}
    tensors |= {name: _float32(array) for name, array in weights.items() if name not in in_codebooks}
    # The metadata is one entry, since safetensors does not keep the order of entries, and the bytes must be
    # deterministic.
    return safetensors.numpy.save(tensors, metadata={"info": json.dumps(info)})


def _float32(array: np.ndarray) -> np.ndarray:
    # safetensors writes the raw memory, so an array that is not contiguous would be scrambled.
    return np.ascontiguousarray(array, dtype=np.float32)


def _codebook_name(level: int) -> str:
    return f"quantization_layers.{level}.embedding.weight"


def _codebooks(weights: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    codebooks: list[np.ndarray] = []
    while (name := _codebook_name(len(codebooks))) in weights:
        codebooks.append(weights[name])
    return codebooks


def _stacked(codebooks: list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
    """Returns one array `[L, K, Z]` if every level has the same K, otherwise the list."""
    return np.stack(codebooks) if len({codebook.shape for codebook in codebooks}) == 1 else codebooks


def _take_codebooks(tensors: dict[str, np.ndarray]) -> list[np.ndarray]:
    if "codebooks" in tensors:
        return list(tensors.pop("codebooks"))
    codebooks = [tensors.pop("codebooks.0")]
    while (name := f"codebooks.{len(codebooks)}") in tensors:
        codebooks.append(tensors.pop(name))
    return codebooks
