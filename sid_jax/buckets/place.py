"""Accesses objects and prefixes in buckets. Errors are one line, and say what to install or to set."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeAlias

from sid_jax.errors import UserError, reason
from sid_jax.paths import SCHEMES

# For each kind of bucket, how to provide the credentials that its library looks for.
_CREDENTIALS = {
    "gs": "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS",
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_CONNECTION_STRING",
    "hf": "run `hf auth login`, or set HF_TOKEN",
}
# Keys of the properties that change with a file's content. Each store has some of these properties.
_VERSIONS = ("ETag", "etag", "generation", "md5Hash", "blob_id", "LastModified", "last_modified", "mtime", "created")
# Errors of the local disk to which files are copied.
_LOCAL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# Parquet readers jump between columns, so several blocks are cached to avoid repeated requests.
_BLOCK_BYTES, _BLOCKS = 2**23, 8


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file in a bucket: its path in the file system of its store, its size in bytes, and its version."""

    path: str
    size: int
    version: str


class Place:
    """An address in a bucket.

    Args:
      address: such as "s3://bucket/exports/v1".

    Raises:
      UserError: if the package for this kind of address is not installed. All methods raise UserError if an access to
        the bucket fails.
    """

    def __init__(self, address: str):
        self.address = address
        with _talking(address, "opened"):
            from fsspec.core import url_to_fs

            self._fs, self._path = url_to_fs(address)
            # fsspec caches listings, which are outdated if other processes write.
            self._fs.invalidate_cache()

    @property
    def name(self) -> str:
        """The last component of the address."""
        return self.address.rpartition("/")[2]

    def __truediv__(self, name: str) -> Place:
        """Returns the address of the file or prefix `name` under this address."""
        return Place(f"{self.address}/{name}")

    def file(self) -> Entry | None:
        """Returns the file at this address; None if there is none."""
        with _talking(self.address, "read"):
            try:
                info = self._fs.info(self._path)
            except FileNotFoundError:
                return None
            return _entry(info) if info["type"] == "file" else None

    def children(self) -> dict[str, Entry | None]:
        """Returns the files and prefixes directly under this address, by name; the value of a prefix is None."""
        with _talking(self.address, "listed"):
            try:
                infos = self._fs.ls(self._path, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return {}
            # `_is_under` excludes the empty object that some stores have for the prefix itself.
            named = {info["name"].rstrip("/").rpartition("/")[2]: info for info in infos if _is_under(info, self._path)}
            return {name: _entry(named[name]) if named[name]["type"] == "file" else None for name in sorted(named)}

    def tree(self) -> dict[str, Entry]:
        """Returns all files under a prefix, by their path relative to it."""
        with _talking(self.address, "listed"):
            infos = self._fs.find(self._path, detail=True)
            own = self._fs._strip_protocol(self._path).rstrip("/") + "/"
            return {path.removeprefix(own): _entry(info) for path, info in infos.items() if path.startswith(own)}

    def matching(self) -> dict[str, Entry]:
        """Returns the files that match this address, which is a pattern.

        The keys are paths relative to the part of the address before its first component with a wildcard.
        """
        with _talking(self.address, "listed"):
            infos = self._fs.glob(self._path, detail=True)
            fixed = self._fs._strip_protocol(self._path)
            fixed = fixed[: min(fixed.find(sign) for sign in "*?[" if sign in fixed)].rpartition("/")[0] + "/"
            found = {path.removeprefix(fixed): info for path, info in infos.items() if info["type"] == "file"}
            return {name: _entry(found[name]) for name in sorted(found)}

    def read(self) -> bytes | None:
        """Returns the content of the file at this address; None if there is none."""
        with _talking(self.address, "read"):
            try:
                return self._fs.cat_file(self._path)
            except (FileNotFoundError, IsADirectoryError):
                return None

    def fetch(self, entries: Sequence[Entry], paths: Sequence[Path]) -> None:
        """Copies files to local paths, whose folders must exist."""
        with _talking(self.address, "copied"):
            if entries:
                self._fs.get([entry.path for entry in entries], [str(path) for path in paths])

    def entry(self, name: str) -> Entry:
        """Returns the file `name` under this prefix, without checking that it exists."""
        return Entry(f"{self._path}/{name}" if name else self._path, 0, "")

    def put(self, files: Sequence[Path], names: Sequence[str]) -> None:
        """Uploads local files under these names, which are relative to this address; "" is the address itself."""
        with _talking(self.address, "written"):
            for file, name in zip(files, names, strict=True):
                self._fs.put_file(str(file), self.entry(name).path)

    def write(self, content: bytes, *, only_if_absent: bool = False) -> None:
        """Writes the file at this address in one request.

        Raises:
          UserError: if the file cannot be written, or exists and `only_if_absent` is set.
        """
        with _talking(self.address, "written"):
            if not only_if_absent:
                self._fs.pipe_file(self._path, content)
                return
            asynchronous = getattr(self._fs, "_pipe_file", self._fs.pipe_file)
            how = {"mode": "create"} if "mode" in inspect.signature(asynchronous).parameters else {}
            try:
                if not how and self._fs.exists(self._path):
                    raise FileExistsError
                self._fs.pipe_file(self._path, content, **how)
            except FileExistsError:
                raise UserError(
                    f"{self.address} exists now, since another process has written it; choose another folder"
                ) from None

    def remove(self, names: Sequence[str]) -> None:
        """Removes files by their names relative to this address. Missing files are ignored."""
        with _talking(self.address, "written"):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    self._fs.rm_file(self.entry(name).path)

    def open(self) -> BinaryIO:
        """Opens the file at this address for reading at random positions."""
        with _talking(self.address, "read"):
            how = {"cache_type": "blockcache", "cache_options": {"maxblocks": _BLOCKS}}
            return self._fs.open(self._path, "rb", block_size=_BLOCK_BYTES, **how)


class RemoteFile:
    """A file in a bucket that is read without a local copy; `str` returns its address."""

    def __init__(self, address: str):
        self._address = address

    def __str__(self) -> str:
        return self._address

    @property
    def name(self) -> str:
        """The file's name."""
        return self._address.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The name's ending, such as ".parquet"."""
        return PurePosixPath(self.name).suffix

    def open(self) -> BinaryIO:
        """Opens the file for reading at random positions."""
        return Place(self._address).open()

    def identity(self) -> list[str | int]:
        """Returns values that change when the file changes: its address, size and version.

        Raises:
          UserError: if the file does not exist.
        """
        entry = Place(self._address).file()
        if entry is None:
            raise UserError(f"{self._address}: no such file in the bucket; check the address")
        return [self._address, entry.size, entry.version]


# A file on a disk or in a bucket.
File: TypeAlias = Path | RemoteFile


def digest_of(entries: dict[str, Entry]) -> str:
    """Returns a digest that changes if a file is added, removed or replaced."""
    about = [(name, entry.path, entry.size, entry.version) for name, entry in sorted(entries.items())]
    return hashlib.sha256(repr(about).encode()).hexdigest()


def _is_under(info: dict[str, Any], path: str) -> bool:
    return info["name"].strip("/") != path.strip("/")


def _entry(info: dict[str, Any]) -> Entry:
    version = next((str(info[name]) for name in _VERSIONS if info.get(name) is not None), "")
    return Entry(info["name"], int(info.get("size") or 0), version)


def _install(kind: str, package: str) -> str:
    """Returns the argument of `pip install` for a kind of bucket: an extra if there is one, or else the package."""
    return {"gs": "'sid_jax[gcs]'", "s3": "'sid_jax[s3]'", "az": "'sid_jax[azure]'"}.get(kind, package)


@contextlib.contextmanager
def _talking(address: str, done: str) -> Iterator[None]:
    """Turns any failure of a store's library into a one-line UserError."""
    scheme = address.partition(":")[0]
    kind, package = SCHEMES[scheme]
    credentials = _CREDENTIALS.get(kind, f"see the documentation of {package}")
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        raise UserError(
            f"{address}: addresses with {scheme}:// need the package {package} ({reason(error)}); run pip install "
            f"{_install(kind, package)}"
        ) from error
    except FileNotFoundError as error:
        what = "cannot be written" if done == "written" else "no such file in the bucket"
        raise UserError(f"{address}: {what} ({reason(error)})") from error
    except PermissionError as error:
        raise UserError(
            f"{address}: cannot be {done}, since access is denied ({reason(error)}); use credentials with access: "
            f"{credentials}"
        ) from error
    # Each store's library has its own error classes, which are not imported here, so every exception is caught.
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _LOCAL_DISK:
            # This is an error of the local disk, not of the store. The caller's message names the cache folder.
            raise
        text = f"{type(error).__name__}: {reason(error)}"
        if "credential" in text.lower():
            raise UserError(f"{address}: no credentials found ({text}); {credentials}") from error
        raise UserError(f"{address}: cannot be {done} ({text}); check the address and the network") from error
