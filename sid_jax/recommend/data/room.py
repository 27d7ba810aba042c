"""Padded sizes of a catalog's arrays. They stay the same for newer, slightly larger versions of the catalog."""

from __future__ import annotations


class Room:
    """Padded array sizes by name. Versions of a catalog that have the same sizes share their compiled programs."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}

    def size(self, name: str, number: int) -> int:
        """Returns a padded size of at least `number`: the previous one, if it is large enough, or else a new one.

        A new size is at least 1/16 larger than `number`, and at most about 1/8 larger if `number` is large. It is
        rounded up to a multiple of a power of two, so that processes that start with similar catalogs usually have
        the same sizes.
        """
        if number > self._sizes.get(name, 0):
            wanted = number + number // 16 + 1
            step = 1 << max(0, wanted.bit_length() - 5)
            self._sizes[name] = -(-wanted // step) * step
        return self._sizes[name]
