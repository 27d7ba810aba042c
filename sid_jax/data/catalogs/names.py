"""The names of the catalogs that sid_jax can load by name; all its settings called `source` accept them."""

from __future__ import annotations

from typing import NamedTuple

MOVIELENS_SIZES = ("100k", "1m", "10m", "20m", "25m", "32m", "latest-small")
AMAZON_EDITIONS = ("2014", "2018", "2023")
# Each category's spelling in the file names of each edition, in the order of `AMAZON_EDITIONS`.
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
    """The edition and the category in a name such as "amazon-2014-beauty"."""

    edition: str
    category: str

    @classmethod
    def of(cls, source: str) -> AmazonName:
        """Returns the edition and the category of a catalog from its name in `AMAZON`."""
        _, edition, category = source.split("-")
        return cls(edition, category)

    @property
    def files(self) -> str:
        """The category's name in the edition's file names."""
        return AMAZON_CATEGORIES[self.category][AMAZON_EDITIONS.index(self.edition)]


def movielens_size(source: str) -> str:
    """Returns the size in the name of a MovieLens catalog, such as "1m" for "movielens-1m"."""
    return source.removeprefix("movielens-")
