"""The folder of a run: what made it is written down first, and another run is kept out of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from sid_jax.config import config_from_dict, differences
from sid_jax.errors import UserError

RUN_FILE = "run.json"

# Where the data lies may change between two starts of a run; that it is the same data is checked by its fingerprint.
_FREE_TO_CHANGE = ("data.path", "data.ids_path", "data.cache_dir")


def claim_workdir(workdir: Path, config: ConfigDict, fingerprint: str) -> None:
    """Writes the resolved config and the data's fingerprint into a new workdir, or compares them with an old one's.

    Raises:
      UserError: if the workdir belongs to a run with other settings or other data, or cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if (workdir / RUN_FILE).exists():
            _refuse_another_run(workdir, config, fingerprint)
        elif any(path.name != f"{RUN_FILE}.partial" for path in workdir.iterdir()):
            raise UserError(f"{workdir} is not empty and holds no run: choose another --workdir")
        content = {"config": config.to_dict(), "data_fingerprint": fingerprint}
        partial = workdir / f"{RUN_FILE}.partial"
        partial.write_text(json.dumps(content, indent=2) + "\n")
        partial.replace(workdir / RUN_FILE)
    except OSError as error:
        raise UserError(f"cannot write {workdir}: {error.strerror}; choose another --workdir") from error


def read_run(workdir: Path) -> tuple[ConfigDict, str]:
    """Returns the resolved config and the data's fingerprint of a run.

    Raises:
      UserError: if there is no run in the workdir, or its record is damaged.
    """
    path = workdir / RUN_FILE
    if not path.exists():
        raise UserError(f"{workdir} holds no run ({RUN_FILE} is missing): train first, with --workdir={workdir}")
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        return config_from_dict(content["config"]), content["data_fingerprint"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {' '.join(str(error).split())}") from error


def _refuse_another_run(workdir: Path, config: ConfigDict, fingerprint: str) -> None:
    old_config, old_fingerprint = read_run(workdir)
    changed = [
        f"{name}: {old!r} there, {new!r} now"
        for name, old, new in differences(old_config, config)
        if name not in _FREE_TO_CHANGE
    ]
    if changed:
        raise UserError(f"{workdir} holds a run with other settings ({'; '.join(changed)}): choose another --workdir")
    if fingerprint != old_fingerprint:
        raise UserError(f"{workdir} holds a run on other data (vectors or ids differ): choose another --workdir")
