"""The manifest of an export: settings, versions, quality metrics, and the size and SHA-256 of each file.

The manifest is written last. A folder without a manifest is not a finished export.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from sid_jax import __version__
from sid_jax.errors import UserError, reason
from sid_jax.paths import as_path
from sid_jax.settings import RENAMED
from sid_jax.whole_file import write_json

FORMAT_VERSION = 1
_NAME = "manifest.json"
# The manifest lists neither itself nor the report, which may be rebuilt from the other files at any time.
_NOT_LISTED = (_NAME, "report.html")
_FRAME = ("format_version", "created", "versions", "files", "digest")
# Names of metrics and settings in older exports, and their current names.
_RENAMED = {
    "duplicate_floor": "max_distinct_rate",
    "num_held_out": "num_cold",
    "r2_held_out": "r2_cold",
    **RENAMED,
}
# Names that older exports have in all sections except "version", where "moved" is the number of moved items.
_RENAMED_OUTSIDE_VERSION = {"moved": "relocated", "moved_by_level": "relocated_by_level"}
MEASURED_FILE = "report.json"
MEASURED_VERSION = 1
_MOST_POINTS = 200
_PACKAGES = ("jax", "flax", "numpy")


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes `manifest.json`: the given content, and the entries that every manifest has.

    The entries before the content are `format_version`, `created` (UTC) and `versions`. The entries after it are
    `files`, with the size and the SHA-256 of every other file in the folder except the report, and `digest`, the
    SHA-256 of the manifest itself. All other files must therefore be complete.

    Args:
      folder: the export.
      content: JSON values, under keys other than these five.

    Raises:
      ValueError: if the content has one of these keys, or a number that is not finite.
      TypeError: if the content has a value that JSON cannot express.
    """
    frame: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {
            # The version is not read from the package's metadata. In an editable installation, the metadata has the
            # version at the time of installation.
            "sid_jax": __version__,
            **{package: _version(package) for package in _PACKAGES},
            "python": platform.python_version(),
        },
    }
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    files = {name: _describe(folder / name) for name in sorted(names) if name not in _NOT_LISTED}
    if taken := set(_FRAME) & set(content):
        raise ValueError(f"the manifest already has the keys {', '.join(sorted(taken))}; choose other names")
    # The content is converted to what a reader of the JSON gets, for example lists instead of tuples.
    manifest = json.loads(json.dumps({**frame, **content, "files": files}, allow_nan=False))
    text = json.dumps({**manifest, "digest": _digest(manifest)}, indent=2, ensure_ascii=False)
    (folder / _NAME).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: str | Path, *, verify: bool = False) -> dict[str, Any]:
    """Reads an export's manifest and checks the folder's files against it.

    Args:
      folder: the export.
      verify: whether to read every file and check its SHA-256, and to check the manifest's own digest. Otherwise only
        the sizes of the files are checked.

    Raises:
      UserError: if the manifest is missing, is not the JSON that an export writes, or has another format version; or
        if a file is missing or has changed since the export.
    """
    folder = as_path(folder)
    manifest = _parse(folder / _NAME)
    if verify and manifest.get("digest", _digest(manifest)) != _digest(manifest):
        raise UserError(f"{folder / _NAME} was edited after the export (its digest differs); export again")
    for name, wanted in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path} is missing, but {_NAME} lists it; export again")
        if path.stat().st_size != wanted["bytes"]:
            raise UserError(
                f"{path} has {path.stat().st_size} bytes, but {_NAME} lists {wanted['bytes']}; export again"
            )
        if verify and _describe(path) != wanted:
            raise UserError(f"{path} was changed after the export (SHA-256 differs); export again")
    return _with_names_of_today(manifest)


def content_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the manifest's content as JSON values, without the entries that `write_manifest` adds."""
    content = {name: value for name, value in manifest.items() if name not in _FRAME}
    return json.loads(json.dumps(content, allow_nan=False))


def semantic_ids_section(
    scheme: str, capacity: int, sizes: Sequence[int], relocated: float, relocated_by_level: np.ndarray
) -> dict[str, Any]:
    """Returns the manifest's section on how Semantic IDs were made.

    Args:
      scheme: how the IDs were made unique.
      capacity: maximum number of items per ID.
      sizes: K of each level, including the suffix.
      relocated: share of items whose ID differs from the codes that the model assigned.
      relocated_by_level: for each level, the share of items whose ID and codes differ at this level.
    """
    return {
        "scheme": scheme,
        "capacity": capacity,
        "length": len(sizes),
        "sizes": list(sizes),
        "relocated": float(relocated),
        "relocated_by_level": relocated_by_level.tolist(),
    }


def manifest_hash(folder: Path) -> str:
    """Returns the SHA-256 of an export's manifest. It identifies the export, since it covers all files' hashes."""
    return hashlib.sha256((folder / _NAME).read_bytes()).hexdigest()


def write_measured(folder: Path, measured: Mapping[str, Any], records: Path | None = None) -> None:
    """Writes `report.json`: the metrics in `measured`, and the training curves of the run in the folder `records`."""
    content = dict(measured)
    if records is not None:
        # `read_records` is imported here, since its module imports JAX, which is not needed to read an export.
        from sid_jax.training.records import read_records

        rows = (row for kind in ("train", "eval") for row in read_records(records, kind))
        content["training"] = training_curves(rows)
    if content:
        write_json(folder / MEASURED_FILE, {"format_version": MEASURED_VERSION, **content})


def read_measured(folder: Path) -> dict[str, Any]:
    """Returns the content of `report.json`; an empty dict if the export has none.

    Raises:
      UserError: if the file cannot be read, or has another format version.
    """
    path = folder / MEASURED_FILE
    if not path.exists():
        return {}
    try:
        measured = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}; export again") from error
    if measured.get("format_version") != MEASURED_VERSION:
        raise UserError(
            f"{path} does not have format version {MEASURED_VERSION}, which this version of sid_jax reads; export again"
        )
    del measured["format_version"]
    return measured


def training_curves(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, list[Any]]]:
    """Returns the curves of "train" and of "eval": for each, a dict from metric names to values at up to 200 steps.

    The last step is always included. A number that is not finite becomes None. A list with one number per level becomes
    `name/1`, `name/2`, … `rows` are records of `sid_jax.training.records`.
    """
    found, rows = {}, list(rows)
    for kind in ("train", "eval"):
        own = [row for row in rows if row["kind"] == kind]
        count = min(len(own), _MOST_POINTS)
        chosen = np.linspace(0, len(own) - 1, count).round().astype(int)
        found[kind] = _columns([own[number] for number in chosen])
    return found


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    flat = [dict(_flat(row)) for row in rows]
    names = dict.fromkeys(name for row in flat for name in row)
    return {name: [row.get(name) for row in flat] for name in names}


def _flat(row: Mapping[str, Any]) -> list[tuple[str, float | None]]:
    numbers: list[tuple[str, float | None]] = []
    for name, value in row.items():
        several = isinstance(value, list)
        pairs = [(f"{name}/{level}", each) for level, each in enumerate(value, 1)] if several else [(name, value)]
        for key, each in pairs:
            if isinstance(each, (int, float)):
                numbers.append((key, each if math.isfinite(each) else None))
    return numbers


def _with_names_of_today(content: Any, section: str = "") -> Any:
    if not isinstance(content, dict):
        return content
    names = _RENAMED if section == "version" else {**_RENAMED, **_RENAMED_OUTSIDE_VERSION}
    return {names.get(name, name): _with_names_of_today(value, name) for name, value in content.items()}


def _digest(manifest: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a manifest's content, independent of its formatting. Older exports have no digest."""
    content = {name: value for name, value in manifest.items() if name != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _parse(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise UserError(f"{path.parent}: no such folder; give the folder of an export") from None
        raise UserError(f"{path} is missing, so {path.parent} is not a finished export; export again") from None
    except NotADirectoryError:
        raise UserError(f"{path.parent} is not a folder; give the folder of an export") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}), so it is truncated or was edited; export again") from error
    if not isinstance(manifest, dict) or "format_version" not in manifest:
        raise UserError(
            f"{path} has no format_version, so it is not the manifest of an export; give the folder of an export"
        )
    if manifest["format_version"] != FORMAT_VERSION:
        found = manifest["format_version"]
        raise UserError(
            f"{path} has format version {found!r}, but this version of sid_jax reads {FORMAT_VERSION}; use the "
            "version of sid_jax that wrote it"
        )
    files = manifest.get("files")
    described = list(files.values()) if isinstance(files, dict) else [None]
    if not all(isinstance(each, dict) and each.keys() == {"bytes", "sha256"} for each in described):
        raise UserError(f"{path} does not list the size and SHA-256 of every file, so it was edited; export again")
    return manifest


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        # The package has no metadata, for example in a bundled program.
        return "not installed"
