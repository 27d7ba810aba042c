from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from sid_jax.data.catalogs import store
from sid_jax.data.catalogs.store import Download, check_digest, fetch
from sid_jax.errors import UserError
from tests.data.catalogs.conftest import QuietHandler, serving


def test_a_file_is_fetched_and_checked(tmp_path: Path, served: Download):
    folder = tmp_path / "scratch"
    folder.mkdir()
    found = fetch(folder, served, seconds=60)
    assert found.parent == folder
    assert found.read_bytes() == (tmp_path / "ml-100k.zip").read_bytes()
    with pytest.raises(UserError, match=f"has SHA-256 {served.sha256}, not 0000"):
        check_digest(found, served._replace(sha256="0" * 64))
    md5 = hashlib.md5(found.read_bytes()).hexdigest()
    check_digest(found, Download(served.address, md5=md5))
    check_digest(found, Download(served.address))
    with pytest.raises(UserError, match=f"has MD5 {md5}, not 0000"):
        check_digest(found, Download(served.address, md5="0" * 32))


def test_an_address_that_is_not_there_is_refused(tmp_path: Path, served: Download):
    with pytest.raises(UserError, match="no answer: .*404"):
        fetch(tmp_path, served._replace(address=served.address + ".gone"), seconds=60)


def test_a_download_that_stalls_is_given_up(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(store, "_check_answers", lambda address: None)
    released = threading.Event()

    class Stalling(QuietHandler):
        def do_GET(self) -> None:
            released.wait(30)

    with serving(Stalling) as address:
        try:
            with pytest.raises(UserError, match="not finished after 2 s"):
                fetch(tmp_path, Download(f"{address}/ml-100k.zip"), seconds=2)
        finally:
            released.set()
