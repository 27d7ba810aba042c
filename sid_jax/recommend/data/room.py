"""Sizes with some room, so that the arrays of a newer version of a catalog have the shapes of the old one's."""

from __future__ import annotations


class Room:
    """Sizes of the arrays of a catalog, by name. All versions of a catalog share one, so that they share programs."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}

    def size(self, name: str, number: int) -> int:
        """Returns a size of at least `number`: the same as before as long as that suffices.

        A new size is at least 1/16 larger than the number, and at most 1/8 (if the number is not small). It is a
        multiple of 1/32 to 1/16 of itself, so that processes that start with similar catalogs have the same sizes.
        """
        if number > self._sizes.get(name, 0):
            wanted = number + number // 16 + 1
            step = 1 << max(0, wanted.bit_length() - 5)
            self._sizes[name] = -(-wanted // step) * step
        return self._sizes[name]
