"""The terms that are blended into a model's scores (transitions, content, popularity), as arrays on the host."""

from __future__ import annotations

import dataclasses

import numpy as np

from sid_jax.recommend.config import TERMS

# The padding of `Blend.followers`. It is larger than the row number of any item.
NOBODY = np.iinfo(np.int32).max


@dataclasses.dataclass(frozen=True, eq=False)
class Blend:
    """Weights of the model's score and of T terms, and the data of the terms.

    Attributes:
      weights: `[1 + T]` float32, of the model's score and of each used term, in the order of `TERMS`.
      followers: `[N, k]` int32, the followers of each item: the items to which its strongest transitions lead. Padded
        with `NOBODY`. None without the term "transitions".
      strengths: `[N, k]` float32, the strengths of these transitions, padded with 0. None if `followers` is None.
      projection: `[D, d]` float32, the projection of content vectors onto their first d principal directions. None
        without the term "content".
      popularity: whether the term "popularity" is used.
    """

    weights: np.ndarray
    followers: np.ndarray | None
    strengths: np.ndarray | None
    projection: np.ndarray | None
    popularity: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the used terms."""
        there = (self.followers is not None, self.projection is not None, self.popularity)
        return tuple(name for name, is_there in zip(TERMS, there, strict=True) if is_there)

    def weighed(self, weights: np.ndarray) -> Blend:
        """Returns the same terms with other weights, `[1 + T]`."""
        return dataclasses.replace(self, weights=weights.astype(np.float32))

    def with_more_items(self, number: int) -> Blend:
        """Returns the blend of a catalog with `number` more items, which have no followers."""
        if self.followers is None or self.strengths is None:
            return self
        room = ((0, number), (0, 0))
        return dataclasses.replace(
            self,
            followers=np.pad(self.followers, room, constant_values=NOBODY),
            strengths=np.pad(self.strengths, room),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the blend as arrays by name, for a file."""
        named = {"weights": self.weights, "popularity": np.array([self.popularity], np.uint8)}
        others = {"followers": self.followers, "strengths": self.strengths, "projection": self.projection}
        return named | {name: array for name, array in others.items() if array is not None}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Blend:
        """Returns the blend from the result of `arrays`."""
        return cls(
            arrays["weights"],
            arrays.get("followers"),
            arrays.get("strengths"),
            arrays.get("projection"),
            bool(arrays["popularity"][0]),
        )
