"""One export of files of any length: what is to be done, for whoever does a piece of it."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from sid_jax.data.parts.vector_parts import VectorParts
from sid_jax.export.codebooks import read_codebooks
from sid_jax.export.weights import model_from_weights
from sid_jax.models.rqvae import RQVAE


@dataclasses.dataclass(frozen=True)
class Job:
    """What all stages know. It holds no arrays, so that it travels to other processes.

    A stage does one piece of the work, from files to files, and the same piece always writes the same. So it does not
    matter who does which, in what order, or whether one is done twice.

    Attributes:
      folder: the export that is being made; `codebooks.safetensors` is in it from the start.
      inputs: the parts of the vectors.
      sizes: K of each level.
      scheme: how IDs become unique, one of `sid_jax.ids.unique.SCHEMES`.
      capacity: how many items may share an ID.
      id_name: what the column of ids is called.
      sample_every: of so many items one is decoded, to see how well codes serve.
    """

    folder: Path
    inputs: VectorParts
    sizes: tuple[int, ...]
    scheme: str
    capacity: int
    id_name: str
    sample_every: int

    @property
    def model(self) -> RQVAE:
        """The model, as it is exported; a process loads it once."""
        return _load_model(self.folder)

    @property
    def scratch(self) -> Path:
        """Where stages leave what later ones read; gone from the finished export."""
        return self.folder / "scratch"


@functools.lru_cache(1)
def _load_model(folder: Path) -> RQVAE:
    return model_from_weights(*read_codebooks(folder))
