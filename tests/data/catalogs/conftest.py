"""A local server for downloads."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sid_jax.data.catalogs.store import Download
from tests.data.conftest import grouplens_files, write_zip

# An address without a server: port 9 is reserved for the discard service.
CLOSED = "http://127.0.0.1:9"


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serving(handler: object) -> Iterator[str]:
    """Runs a local server, and yields its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def serving_folder(folder: Path) -> Iterator[str]:
    """Serves the files of a folder, and yields the server's address."""
    with serving(functools.partial(QuietHandler, directory=str(folder))) as address:
        yield address


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Download]:
    """A small data set in a zip on a local server."""
    path = write_zip(tmp_path / "ml-100k.zip", grouplens_files())
    with serving_folder(tmp_path) as address:
        yield Download(f"{address}/ml-100k.zip", hashlib.sha256(path.read_bytes()).hexdigest())
