"""Recognizes the content of a file by its first bytes, since the content may not match the file's name."""

from __future__ import annotations

import codecs
import gzip
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sid_jax.errors import UserError

_GZIP = b"\x1f\x8b"
_LOOKED_AT = 512
# Endings of files that are not text. Files with endings that are in neither this list nor `_UNKNOWN` should be text,
# and some of them may be compressed.
_BINARY = (".parquet", ".feather", ".arrow", ".npy", ".npz", ".pt", ".safetensors", ".array_record")
# Endings of files in other tools' formats. Their content is not checked, since its first bytes do not show the format.
_UNKNOWN = (".bin", ".tfrecord", ".tfrecord.gz")


class _Content(NamedTuple):
    """A kind of content: its name, its first bytes, and the endings of files that may have it.

    `remedy` says what to do with a file that has this content but another ending.
    """

    name: str
    starts: tuple[bytes, ...]
    endings: tuple[str, ...]
    remedy: str


_BINARIES = (
    _Content("a Parquet file", (b"PAR1",), (".parquet",), "give it the ending .parquet"),
    _Content("a NumPy array", (b"\x93NUMPY",), (".npy",), "give it the ending .npy"),
    _Content("an Arrow file", (b"ARROW1\0\0",), (".feather", ".arrow"), "give it the ending .arrow"),
    _Content(
        "a ZIP archive",
        (b"PK\x03\x04",),
        (".npz", ".pt"),
        "give it the ending .npz or .pt if NumPy or PyTorch wrote it; otherwise, unpack it",
    ),
    _Content(
        "compressed with gzip",
        (_GZIP,),
        (".csv", ".csv.gz", ".json", ".json.gz", ".jsonl", ".jsonl.gz"),
        "decompress it",
    ),
    _Content("an HDF5 file", (b"\x89HDF\r\n\x1a\n",), (), "write its content in another format"),
)
_TEXTS = (
    _Content("a web page", (b"<!doctype html", b"<html"), (), "download the file again"),
    _Content("a Git LFS pointer", (b"version https://git-lfs.",), (), "download the file with git lfs pull"),
)


def check_content(path: Path) -> None:
    """Raises a UserError if a file's first bytes show that its content does not have the format of the file's ending.

    Content that is not recognized, a missing file and an empty file are left to the reader of the file.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_LOOKED_AT)
    except OSError:
        return
    name = path.name.lower()
    if not head or name.endswith(_UNKNOWN):
        return
    # Shards may be called items.array_record-00003-of-00010.
    ending = ".array_record" if ".array_record" in name else path.suffix.lower()
    is_text = _is_text(head)
    contents, start = (_TEXTS, head.removeprefix(codecs.BOM_UTF8).lstrip().lower()) if is_text else (_BINARIES, head)
    found = next((each for each in contents if start.startswith(each.starts)), None)
    if found is None and is_text and ending in _BINARY:
        found = _Content("text", (), (), "write the file again, or give it the ending of its format, such as .csv")
    if found is not None and not name.endswith(found.endings):
        raise UserError(f"{path}: not a readable {ending or 'text'} file: its content is {found.name}; {found.remedy}")


def is_gzipped(path: Path) -> bool:
    """Returns whether a file's content is compressed with gzip. A browser may unpack a file without renaming it."""
    with path.open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


def open_plain(path: Path) -> BinaryIO:
    """Opens a file, gzipped or not, for reading its uncompressed bytes."""
    return gzip.open(path) if is_gzipped(path) else path.open("rb")  # type: ignore[return-value]


def _is_text(head: bytes) -> bool:
    """Returns whether the first bytes of a file are UTF-8 text; the last character may be incomplete."""
    if any(byte < 32 and byte not in b"\t\n\f\r" for byte in head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return len(head) == _LOOKED_AT and error.start > len(head) - 4
    return True
