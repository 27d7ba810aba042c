"""The catalogs that have a name, which every setting called `source` takes."""

from __future__ import annotations

from typing import NamedTuple

MOVIELENS_SIZES = ("100k", "1m", "10m", "20m", "25m", "32m", "latest-small")
AMAZON_EDITIONS = ("2014", "2018", "2023")
# In each edition, in the order of the editions, what the files are called.
AMAZON_CATEGORIES = {
    "beauty": ("Beauty", "All_Beauty", "All_Beauty"),
    "sports": ("Sports_and_Outdoors",) * 3,
    "toys": ("Toys_and_Games",) * 3,
    "games": ("Video_Games",) * 3,
    "instruments": ("Musical_Instruments",) * 3,
}

MOVIELENS = tuple(f"movielens-{size}" for size in MOVIELENS_SIZES)
AMAZON = tuple(f"amazon-{edition}-{category}" for edition in AMAZON_EDITIONS for category in AMAZON_CATEGORIES)
CATALOGS = MOVIELENS + AMAZON


class AmazonName(NamedTuple):
    """What a name such as "amazon-2014-beauty" says."""

    edition: str
    category: str

    @classmethod
    def of(cls, source: str) -> AmazonName:
        """Returns the parts of one of `AMAZON`."""
        _, edition, category = source.split("-")
        return cls(edition, category)

    @property
    def files(self) -> str:
        """What the category is called in the names of the edition's files."""
        return AMAZON_CATEGORIES[self.category][AMAZON_EDITIONS.index(self.edition)]


def movielens_size(source: str) -> str:
    """Returns "1m" of "movielens-1m"."""
    return source.removeprefix("movielens-")
