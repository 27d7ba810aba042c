"""What is blended into a model's scores: which items follow which, similar content, and popularity, on the host."""

from __future__ import annotations

import dataclasses

import numpy as np

from sid_jax.recommend.config import TERMS

# Stands for no item: no table has so many.
NOBODY = np.iinfo(np.int32).max


@dataclasses.dataclass(frozen=True, eq=False)
class Blend:
    """How much each term counts beside the model's own score, and what the terms are computed from.

    Attributes:
      weights: `[1 + T]` float32, of the model's score and of each term that is there, in the order of `TERMS`.
      followers: `[N, k]` int32, the items that each item speaks for, `NOBODY` where there are no more.
      strengths: `[N, k]` float32, how much; 0 where there are no more. Both None without the term "transitions".
      projection: `[D, d]` float32, of content vectors; None without the term "content".
      popularity: whether there is the term "popularity".
    """

    weights: np.ndarray
    followers: np.ndarray | None
    strengths: np.ndarray | None
    projection: np.ndarray | None
    popularity: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The terms that are there."""
        there = (self.followers is not None, self.projection is not None, self.popularity)
        return tuple(name for name, is_there in zip(TERMS, there, strict=True) if is_there)

    def weighed(self, weights: np.ndarray) -> Blend:
        """Returns the same terms with other weights, `[1 + T]`."""
        return dataclasses.replace(self, weights=weights.astype(np.float32))

    def with_more_items(self, number: int) -> Blend:
        """Returns the blend of a catalog with `number` more items, after which nothing follows."""
        if self.followers is None or self.strengths is None:
            return self
        room = ((0, number), (0, 0))
        return dataclasses.replace(
            self,
            followers=np.pad(self.followers, room, constant_values=NOBODY),
            strengths=np.pad(self.strengths, room),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns what a file keeps of it, by name."""
        named = {"weights": self.weights, "popularity": np.array([self.popularity], np.uint8)}
        others = {"followers": self.followers, "strengths": self.strengths, "projection": self.projection}
        return named | {name: array for name, array in others.items() if array is not None}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Blend:
        """Returns the blend that `arrays` described."""
        return cls(
            arrays["weights"],
            arrays.get("followers"),
            arrays.get("strengths"),
            arrays.get("projection"),
            bool(arrays["popularity"][0]),
        )
