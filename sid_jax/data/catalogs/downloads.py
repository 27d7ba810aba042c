"""Files from somewhere else, through TensorFlow Datasets, in limited time, and checked where a digest is known."""

from __future__ import annotations

import hashlib
import http.client
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import NamedTuple

from sid_jax.data.reason import reason
from sid_jax.errors import UserError

_ANSWER_SECONDS = 5


class Download(NamedTuple):
    """A file somewhere else, by its address or pinned package, and the digest that says it is the right one.

    Attributes:
      address: of the file, or a package and its version.
      sha256: "" if it is not known.
      md5: "" if it is not known.
    """

    address: str
    sha256: str = ""
    md5: str = ""


def fetch(folder: Path, download: Download, *, seconds: int) -> Path:
    """Fetches a file with TensorFlow Datasets' download manager and returns its path.

    Args:
      folder: an empty folder for the file.
      download: where it is.
      seconds: after which it is given up.

    Raises:
      UserError: if the host does not answer in a few seconds, the download fails or takes too long, or the file is not
        the expected one.
    """
    _check_answers(download.address)
    program = Path(__file__).with_name("tfds_download.py")
    # -P: or else the modules beside the program would hide others of the same name.
    printed = run_program([sys.executable, "-P", str(program), download.address, str(folder)], seconds)
    path = Path(printed.strip().splitlines()[-1])
    check_digest(path, download)
    return path


def check_digest(path: Path, download: Download) -> None:
    """Raises UserError unless the file has the digest of the download, where one is known."""
    for name, expected in (("sha256", download.sha256), ("md5", download.md5)):
        if not expected:
            continue
        with path.open("rb") as file:
            found = hashlib.file_digest(file, name).hexdigest()
        if found != expected:
            raise UserError(f"{path.name} has {name.upper().replace('SHA256', 'SHA-256')} {found}, not {expected}")


def run_program(command: list[str], seconds: int) -> str:
    """Returns what the command printed, or raises UserError with the last line of its complaint."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"not done after {seconds} s") from error
    except OSError as error:
        raise UserError(f"{command[0]} cannot be run: {reason(error)}") from error
    if done.returncode:
        raise UserError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    return done.stdout


def _check_answers(address: str) -> None:
    """Asks before the download does, which would go on trying for minutes without a network."""
    request = urllib.request.Request(address, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_ANSWER_SECONDS).close()
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"no answer: {reason(error)}") from error
