"""Layout of item vectors that consist of named parts: each part's features, weight and normalization."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sid_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class ItemPart:
    """One part of every item's vector.

    Attributes:
      name: for example "text" or "image".
      num_features: D_p, the number of features of the part.
      weight: in scaled vectors, the variance of each part is proportional to its weight.
      unit_norm: whether the part's vectors are scaled to length 1.
    """

    name: str
    num_features: int
    weight: float = 1.0
    unit_norm: bool = True


@dataclasses.dataclass(frozen=True)
class Layout:
    """P parts that are concatenated in vectors `[N, D]`. If an item lacks a part, all features of the part are NaN.

    The layout is hashed by value, so that it may be a static argument of compiled functions.

    Attributes:
      parts: the parts, in the order of their features.
    """

    parts: tuple[ItemPart, ...]

    @classmethod
    def of_dicts(cls, parts: Sequence[Mapping[str, Any]]) -> Layout:
        """Returns the layout from the result of `to_dicts`; additional entries of a part are ignored."""
        names = [field.name for field in dataclasses.fields(ItemPart)]
        return cls(tuple(ItemPart(**{name: part[name] for name in names}) for part in parts))

    def to_dicts(self) -> list[dict[str, Any]]:
        """Returns the parts as plain values for JSON."""
        return [dataclasses.asdict(part) for part in self.parts]

    @property
    def num_features(self) -> int:
        """D, the number of features of all parts together."""
        return sum(part.num_features for part in self.parts)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the P parts."""
        return tuple(part.name for part in self.parts)

    @functools.cached_property
    def slices(self) -> tuple[slice, ...]:
        """The slice of features of each part."""
        ends = np.cumsum([part.num_features for part in self.parts]).tolist()
        return tuple(slice(end - part.num_features, end) for end, part in zip(ends, self.parts, strict=True))

    @functools.cached_property
    def part_of_feature(self) -> np.ndarray:
        """Index `[D]` int32 of each feature's part."""
        return np.repeat(np.arange(len(self.parts), dtype=np.int32), [part.num_features for part in self.parts])

    def sums_by_part(self, features: np.ndarray) -> np.ndarray:
        """Returns `[P]`, the sums of the values `[D]` over the features of each part."""
        return np.array([features[each].sum(dtype=np.float64) for each in self.slices])

    def lacking(self, vectors: np.ndarray) -> np.ndarray:
        """Returns a mask `[n, P]` bool of the parts that vectors `[n, D]` lack. A missing part is all NaN."""
        return np.stack([np.isnan(vectors[:, each]).all(axis=1) for each in self.slices], axis=1)

    def join(self, given: Mapping[str, np.ndarray], num_items: int) -> np.ndarray:
        """Returns vectors `[n, D]` float32 from given parts `[n, D_p]`; parts that are not given are missing (NaN).

        Raises:
          UserError: if no part is given, a name is not a part, or a part has the wrong shape.
        """
        unknown = [name for name in given if name not in self.names]
        if unknown or not given:
            raise UserError(
                f"there is no part {unknown[0]!r}; the parts are {', '.join(self.names)}"
                if unknown
                else f"no part is given; give at least one of {', '.join(self.names)}"
            )
        joined = np.full((num_items, self.num_features), np.nan, np.float32)
        for part, place in zip(self.parts, self.slices, strict=True):
            if part.name in given:
                vectors = given[part.name]
                if vectors.shape != (num_items, part.num_features):
                    raise UserError(
                        f"part {part.name!r} has shape {list(vectors.shape)}; it must be "
                        f"[{num_items}, {part.num_features}]"
                    )
                joined[:, place] = vectors
        return joined
