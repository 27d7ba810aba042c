"""Writes the encoder as programs that run without this package: ONNX and StableHLO."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sid_jax.errors import UserError

if TYPE_CHECKING:
    from sid_jax.models.rqvae import RQVAE

# `PROGRAMS` maps each program to its file in an export. `_PACKAGES` maps a program to the package, besides JAX, that is
# needed to write it.
PROGRAMS = {"onnx": "encoder.onnx", "stablehlo": "encoder.stablehlo"}
_PACKAGES = {"onnx": "onnx"}


def chosen_programs(*, onnx: bool = False, stablehlo: bool = False) -> tuple[str, ...]:
    """Returns the names of the requested programs.

    Raises:
      UserError: if a package that a program needs is not installed.
    """
    wanted = {"onnx": onnx, "stablehlo": stablehlo}
    return check_programs(name for name in PROGRAMS if wanted[name])


def check_programs(names: Iterable[str]) -> tuple[str, ...]:
    """Checks that programs can be written, and returns their distinct names in the order of `PROGRAMS`.

    Raises:
      UserError: if a package that a program needs is not installed.
    """
    names = set(names)
    for name in names & set(_PACKAGES):
        if importlib.util.find_spec(_PACKAGES[name]) is None:
            raise UserError(f"{PROGRAMS[name]} needs the package {name}; run pip install 'sid_jax[{name}]'")
    return tuple(name for name in PROGRAMS if name in names)


def programs_of(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the names of the programs that an export's manifest lists."""
    return tuple(name for name, file in PROGRAMS.items() if file in manifest["files"])


def model_files(names: Iterable[str]) -> list[str]:
    """Returns the names of the model files in an export with these programs."""
    return ["codebooks.safetensors", "codebooks.pt", *(PROGRAMS[name] for name in names)]


def write_programs(folder: Path, model: RQVAE, names: Iterable[str]) -> None:
    """Writes the programs of a model into an existing folder.

    Raises:
      UserError: see `check_programs` and `sid_jax.export.onnx_file.onnx_bytes`.
    """
    for name in check_programs(names):
        if name == "onnx":
            from sid_jax.export.onnx_file import onnx_bytes as content
        else:
            from sid_jax.export.stablehlo import stablehlo_bytes as content
        (folder / PROGRAMS[name]).write_bytes(content(model))
