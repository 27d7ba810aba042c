"""The sizes in which GroupLens publishes MovieLens: what is in each, where it is, and how it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sid_jax.data.catalogs.downloads import Download
from sid_jax.data.catalogs.movielens.formats import read_grouplens
from sid_jax.data.catalogs.movielens.later_formats import csv_reader, read_1m, read_10m
from sid_jax.data.catalogs.movielens.tables import MovieLens

_HOST = "https://files.grouplens.org/datasets/movielens/"


class Edition(NamedTuple):
    """One size.

    Attributes:
      name: as it is called in messages.
      counts: of films, users who rated, and ratings; None where GroupLens says that they will change.
      download: the zip. Its digest is the one that TensorFlow Datasets knows it by, and for 10M and 32M, which that
        does not know, the MD5 that GroupLens publishes beside it.
      read: reads a folder or zip in its layout.
      seconds: how long the download may take.
    """

    name: str
    counts: tuple[int, int, int] | None
    download: Download
    read: Callable[[Path], MovieLens]
    seconds: int


EDITIONS = {
    "100k": Edition(
        "MovieLens-100K",
        (1682, 943, 100_000),
        Download(f"{_HOST}ml-100k.zip", "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"),
        read_grouplens,
        120,
    ),
    "1m": Edition(
        "MovieLens-1M",
        (3883, 6040, 1_000_209),
        Download(f"{_HOST}ml-1m.zip", "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"),
        read_1m,
        300,
    ),
    "10m": Edition(
        "MovieLens-10M",
        (10_681, 69_878, 10_000_054),
        Download(f"{_HOST}ml-10m.zip", md5="ce571fd55effeba0271552578f2648bd"),
        read_10m,
        1800,
    ),
    "20m": Edition(
        "MovieLens-20M",
        (27_278, 138_493, 20_000_263),
        Download(f"{_HOST}ml-20m.zip", "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3"),
        csv_reader("ml-20m/"),
        3600,
    ),
    "25m": Edition(
        "MovieLens-25M",
        (62_423, 162_541, 25_000_095),
        Download(f"{_HOST}ml-25m.zip", "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa"),
        csv_reader("ml-25m/"),
        3600,
    ),
    "32m": Edition(
        "MovieLens-32M",
        (87_585, 200_948, 32_000_204),
        Download(f"{_HOST}ml-32m.zip", md5="d472be332d4daa821edc399621853b57"),
        csv_reader("ml-32m/"),
        3600,
    ),
    "latest-small": Edition(
        "MovieLens-latest-small",
        None,
        Download(f"{_HOST}ml-latest-small.zip", "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436"),
        csv_reader("ml-latest-small/"),
        120,
    ),
}
