"""Writes and loads StableHLO programs, such as the encoder. JAX runs them on CPU, CUDA or TPU without this package."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from sid_jax.errors import UserError, reason
from sid_jax.export.manifest import read_manifest
from sid_jax.export.programs import PROGRAMS
from sid_jax.models.rqvae import RQVAE
from sid_jax.paths import as_path
from sid_jax.precision import in_32_bits

PLATFORMS = ("cpu", "cuda", "tpu")


@contextlib.contextmanager
def _no_locations() -> Iterator[None]:
    """Returns a context manager that omits file paths and line numbers of Python code from serialized programs."""
    before = jax.config.jax_traceback_in_locations_limit  # type: ignore[attr-defined]
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", before)


@in_32_bits
def stablehlo_bytes(model: RQVAE) -> bytes:
    """Returns `encoder.stablehlo` as bytes: a program from vectors `[n, D]` float32 to codes `[n, L]` int32, for any n.

    The program contains the weights, and runs on all of `PLATFORMS`, whichever machine wrote it. Equal models give
    equal bytes.
    """
    shape = (*jax.export.symbolic_shape("n"), model.mean.shape[0])
    return program_bytes(model.assign, jax.ShapeDtypeStruct(shape, jnp.float32))


def program_bytes(function: Callable[..., Any], *shapes: jax.ShapeDtypeStruct) -> bytes:
    """Returns a function of arrays as a serialized program for all of `PLATFORMS`; `shapes` may have symbolic sizes."""
    with _no_locations():
        return bytes(jax.export.export(jax.jit(function), platforms=PLATFORMS)(*shapes).serialize())


def load_encoder(folder: str | Path) -> Callable[[jax.Array | np.ndarray], jax.Array]:
    """Returns the encoder of an export, which maps vectors `[n, D]` float32 to codes `[n, L]` int32.

    The function is loaded from `encoder.stablehlo`, and works inside `jit`. Outside `jit`, it is compiled once per
    batch size. For vectors with parts, NaN marks a part that an item lacks. Values are not checked.

    Args:
      folder: an export that was written with `--stablehlo`.

    Raises:
      UserError: if the export has no such file, the file has changed since the export, or this version of JAX cannot
        read it.
    """
    return load_program(as_path(folder) / PROGRAMS["stablehlo"], "export again with --stablehlo")


def load_program(path: Path, remedy: str) -> Callable[..., Any]:
    """Returns the function that a program file contains; the folder of the file must have a manifest.

    Args:
      path: a file with the result of `program_bytes`.
      remedy: what to do if the folder has no such file; a part of the error message.

    Raises:
      UserError: see `load_encoder`.
    """
    wanted = read_manifest(path.parent)["files"].get(path.name)
    if wanted is None:
        raise UserError(f"{path.parent} has no {path.name}; {remedy}")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != wanted["sha256"]:
        raise UserError(f"{path} was changed after the export (SHA-256 differs); export again")
    try:
        exported = jax.export.deserialize(bytearray(content))
    except (NotImplementedError, ValueError) as error:
        raise UserError(f"{path} cannot be read by JAX {jax.__version__} ({reason(error)}): export again") from error
    return jax.jit(exported.call)
